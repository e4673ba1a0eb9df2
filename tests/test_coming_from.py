"""The pages for users of other libraries: their code runs, and no name in their tables is invented.

A page has tabs of code, `=== "vtune"` and another library's, and blocks below them that go on from
vtune's. What needs the other library runs only where it is installed.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import io
import re
import textwrap
from pathlib import Path

import pytest

import vtune as vt

PAGES = Path(__file__).parents[1] / "docs" / "coming_from"
LIBRARIES = {  # page -> what its other tab imports
    "optuna": "optuna",
    "ray_tune": "ray",
    "keras_tuner": "keras_tuner",
    "scikit_learn": "sklearn",
}
FEWER = {  # the others' searches take a while; scikit-learn's starts processes
    "scikit_learn": {
        "np.geomspace(1e-4, 1e-1, 8)": "[1e-2]",
        "[1e-6, 1e-4, 1e-2, 1e-1]": "[1e-4]",
        "n_jobs=2": "n_jobs=1",
    },
    "optuna": {"n_trials=32": "n_trials=6"},
}
OURS = {
    "keras_tuner": {"Categorical([32, 64])": "Categorical([64])"},
    "scikit_learn": {"[1e-6, 1e-4, 1e-2, 1e-1]": "[1e-4]"},
}
BY_PAGE = pytest.mark.parametrize("page", LIBRARIES)


@pytest.fixture(autouse=True)
def keras_with_jax(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")


@functools.cache
def text_of(page):
    return (PAGES / f"{page}.md").read_text()


def tabs(page):
    """The code of every tab by its label."""
    found = re.findall(r'^=== "([^"]+)"\n((?:\n|    .*\n)+)', text_of(page), re.MULTILINE)
    return {label: blocks_in(textwrap.dedent(body)) for label, body in found}


def blocks_in(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def needs(library, block):
    return re.search(rf"^(?:from|import) {library}\b", block, re.MULTILINE) is not None


def shortened(block, changes):
    for long, short in changes.items():
        assert long in block, long
        block = block.replace(long, short)
    return block


@functools.cache
def run_once(block):
    """What the block leaves: Optuna's and Ray Tune's pages have the same one of vtune's."""
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block, "vtune's", "exec"), names)
    assert out.getvalue()
    return names


def run(page, blocks, names):
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), names)


@pytest.mark.slow
@BY_PAGE
def test_vtunes_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vt, "use_all_cores", lambda: 2)  # JAX has started here
    (block,) = tabs(page)["vtune"]
    names = dict(run_once(shortened(block, OURS.get(page, {}))))
    if page == "scikit_learn":
        assert len(names["search"].cv_results_["params"]) == 8
        assert names["search"].best_score_ > 0.9
    else:
        assert len(names["sweep"]) == (16 if page == "keras_tuner" else 32)
        assert names["sweep"].best.score > 0.9
    for block in blocks_in(text_of(page)):
        if needs(LIBRARIES[page], block) and not importlib.util.find_spec(LIBRARIES[page]):
            continue
        run(page, [block], names)
        for value in names.get("space", {}).values():  # the other library's ranges are vtune's
            vt.Halton(2).draw(parsed({"it": value}), 0)
    if page == "scikit_learn":
        assert names["linear"].best_score_ > 0.95
        assert names["drawn"].best_score_ > 0.95


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@BY_PAGE
def test_the_other_librarys_code_runs(page, tmp_path, monkeypatch, capsys):
    pytest.importorskip(LIBRARIES[page])
    monkeypatch.chdir(tmp_path)
    (other,) = (blocks for label, blocks in tabs(page).items() if label != "vtune")
    other = [shortened(block, FEWER.get(page, {})) for block in other]
    run(page, other, {"__name__": "page"})
    assert re.search(r"0\.9\d", capsys.readouterr().out)


# Names ------------------------------------------------------------------------------------------


def parsed(space):
    from vtune.space import parse

    return parse(space)


def tables(page):
    """The rows of all tables: (theirs, vtune's), each a list of what stands in backticks."""
    rows = re.findall(r"^\| (.+) \| (.+) \|$", text_of(page), re.MULTILINE)
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in row) for row in rows]


def vtunes_names():
    from vtune.results import Member, Sweep

    if importlib.util.find_spec("sklearn"):
        importlib.import_module("vtune.sklearn")
    best = type("best", (), {n: getattr(Member, n) for n in dir(Member) if n[0] != "_"})
    best.index = 0  # set where a member is made
    sweep = {n: getattr(Sweep, n) for n in dir(Sweep) if n[0] != "_"}
    plots = type(
        "plot", (), {n: staticmethod(bound(getattr(vt.plots, n))) for n in vt.plots.__all__}
    )
    return {
        "vt": vt,
        "vtune": vt,
        "sweep": type("sweep", (), {**sweep, "best": best, "plot": plots}),
    }


def bound(function):
    return functools.partial(function, None)  # as a method of a sweep


def theirs(page):
    if page == "optuna":
        import optuna

        trial = optuna.trial.create_trial(value=1.0)
        study = {**vars(optuna.Study), "best_trial": trial}
        return {"optuna": optuna, "study": type("study", (), study), "trial": optuna.Trial}
    if page == "ray_tune":
        import ray
        from ray import tune

        importlib.import_module("ray.tune.stopper")
        result = tune.Result(
            metrics={}, checkpoint=None, error=None, path="", metrics_dataframe=None
        )
        return {
            "ray": ray,
            "tune": tune,
            "tuner": tune.Tuner,
            "results": type("results", (), {**vars(tune.ResultGrid), "errors": 0}),
            "best": result,
        }
    if page == "keras_tuner":
        import keras
        import keras_tuner

        return {
            "keras": keras,
            "keras_tuner": keras_tuner,
            "hp": keras_tuner.HyperParameters,
            "tuner": keras_tuner.Tuner,
        }
    import sklearn.linear_model
    import sklearn.model_selection

    model = sklearn.linear_model.LogisticRegression()
    search = sklearn.model_selection.GridSearchCV(model, {"C": [1.0]}, cv=2)
    return {"sklearn": sklearn, "search": search.fit([[0.0], [1.0]] * 2, [0, 1] * 2)}


def expressions(snippets):
    """Each snippet as an expression; arguments alone are those of a call of nothing: `_(...)`."""
    for snippet in snippets:
        if re.fullmatch(r"[\w/]+=", snippet):
            snippet += "0"
        try:
            yield snippet, ast.parse(snippet, mode="eval").body
        except SyntaxError:
            try:
                yield snippet, ast.parse(f"_({snippet})", mode="eval").body
            except SyntaxError:
                continue  # `if`, or an entry of a dict


def check_names(snippets, roots, arguments_of=None):
    """Looks every dotted name and every keyword up; returns how many there were."""
    seen = 0
    for snippet, tree in expressions(snippets):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and root_of(node) in roots:
                resolve(node, roots)
                seen += 1
            if isinstance(node, ast.Call) and node.keywords:
                alone = isinstance(node.func, ast.Name) and node.func.id == "_"
                if alone and arguments_of is None:
                    continue
                if not alone and root_of(node.func) not in roots:
                    continue
                called = arguments_of if alone else resolve(node.func, roots)
                takes = parameters(called)
                for keyword in node.keywords:
                    name = keyword.arg
                    nested = takes is not None and "kwargs" in takes and "__" in name
                    assert takes is None or nested or name in takes, snippet
                    seen += 1
    return seen


def root_of(node):
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def resolve(node, roots):
    """What a dotted name means; a call on the way, such as `study.f().x`, is not followed."""
    path = []
    while isinstance(node, ast.Attribute):
        path.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    found = roots[node.id]
    for name in path:
        if not hasattr(found, name) and inspect.ismodule(found):
            with contextlib.suppress(ModuleNotFoundError):  # getattr says so
                importlib.import_module(f"{found.__name__}.{name}")
        found = getattr(found, name)
    return found


def parameters(called):
    """The names of all arguments; None where others are passed on unseen."""
    found = inspect.signature(called).parameters
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in found.values()):
        return set(found)
    bases = [base for base in getattr(called, "__mro__", ())[1:] if "__init__" in vars(base)]
    if not bases:
        return None
    more = [inspect.signature(base.__init__).parameters for base in bases]
    return set(found).union(*more)


@BY_PAGE
def test_vtunes_names_are_there(page):
    if page == "scikit_learn":
        pytest.importorskip("sklearn")
    snippets = [snippet for _, ours in map(pair, tables(page)) for snippet in ours]
    assert check_names(snippets, vtunes_names(), vt.tune) > 20


@pytest.mark.slow  # to import the other libraries
@pytest.mark.filterwarnings("ignore")
@BY_PAGE
def test_the_other_librarys_names_are_there(page):
    pytest.importorskip(LIBRARIES[page])
    if page == "scikit_learn":
        importlib.import_module("sklearn.experimental.enable_halving_search_cv")
    snippets = [snippet for row, _ in map(pair, tables(page)) for snippet in row]
    assert check_names(snippets, theirs(page)) > 15


def pair(row):
    return row if len(row) == 2 else ([], [])


@pytest.mark.parametrize("wrong", ["vt.Flot(1, 2)", "sweep.bst", "sweep.best.x", "epoch=3"])
def test_an_invented_name_is_found(wrong):
    with pytest.raises((AttributeError, AssertionError)):
        check_names([wrong], vtunes_names(), vt.tune)
