"""What README.md and the documentation print runs; their links and names lead somewhere.

Guides go on from the setup of the tour, so most of them share one compiled program.
"""

import ast
import doctest
import importlib
import pkgutil
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

import vtune
from vtune.space import parse

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [page.relative_to(DOCS).as_posix() for page in sorted(DOCS.rglob("*.md"))]
MODULES = [m.name for m in pkgutil.walk_packages(vtune.__path__, "vtune.")]
FEWER = {  # where what is printed would compile or train for long
    "guides/generations.md": {"generations=2": "generations=1", "generations=3": "generations=2"},
    "guides/hyperparameters.md": {
        '["relu", "tanh"]': '["tanh"]',
        "[8, 32]": "[8]",
        "[16, 64]": "[16]",
    },
    "guides/refiners.md": {
        "max_rounds=9": "max_rounds=3",
        "refiner=hyper, epochs=9": "refiner=hyper, epochs=3",
    },
    "guides/scaling.md": {"Halton(1000)": "Halton(9)", "epochs=27": "epochs=3"},
}


def blocks_of(page):
    """The Python blocks of a page of the documentation, or of README.md."""
    text = (ROOT / page if page == "README.md" else DOCS / page).read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for long, short in FEWER.get(page, {}).items():
        assert any(long in block for block in blocks), long
        blocks = [block.replace(long, short) for block in blocks]
    return blocks


def run(page, names=(), blocks=None):
    """Runs the blocks of a page, all of them when left out, and returns what they leave."""
    names = dict(names)
    for block in blocks_of(page) if blocks is None else blocks:
        exec(compile(block, page, "exec"), names)
    return names


def lines_of(code):
    return len(list(filter(str.strip, code.splitlines())))


def two_cores():
    """In the place of `use_all_cores`, since JAX has started here."""
    return 2


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Blocks write into the folder that they are run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vtune, "use_all_cores", two_cores)


@pytest.fixture(scope="module")
def made():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vtune, "use_all_cores", two_cores)
        return run("start/tour.md", blocks=blocks_of("start/tour.md")[:1])


@pytest.fixture
def setup(made):
    """What the tour's setup leaves."""
    return {**made, "space": dict(made["space"])}


@pytest.fixture(scope="module")
def fewer(made):
    """The data of the tour's setup with a third of the rows, on which guides train faster."""
    x, y = made["x"][::3], made["y"][::3]
    data = vtune.holdout({"x": x, "y": y}, fraction=0.2, test=0.2, seed=0, stratify="y")
    return {"x": x, "y": y, "data": data}


@pytest.mark.slow
def test_the_tour_runs_as_printed(setup, tmp_path, compilations, used_often, capsys):
    """And comes to what the page says."""
    _, search, top, look, move, again, decide = blocks_of("start/tour.md")
    with used_often():
        names = run("start/tour.md", setup, [search])
    names = run("start/tour.md", names, [top, look])
    assert "near an edge: lr=" in capsys.readouterr().out
    assert "try 0.0001 to 0.03" in " ".join((tmp_path / "first.html").read_text().split())
    with compilations() as seen:
        names = run("start/tour.md", names, [move])
    assert seen.count == 0
    assert names["second"].best.score > names["sweep"].best.score + 0.01
    names = run("start/tour.md", names, [again, decide])
    assert names["again"].table()["accuracy"].max() < names["second"].best.score
    assert names["chosen"].hparams["width"] == 128
    assert vtune.read("runs/digits").best.score == names["second"].best.score
    run("guides/comparing.md", names)
    assert "the best" in capsys.readouterr().out


@pytest.mark.slow
def test_readme_runs_as_printed(setup, fewer, tmp_path, used_often, capsys):
    """Its model and learner are those of the tour; the guides have its program."""
    (block,) = blocks_of("README.md")
    before, space, sweep = block.partition("space = {")
    assert blocks_of("start/tour.md")[0].startswith(before)
    with used_often():
        names = run("README.md", {**setup, **fewer}, [space + sweep])
    assert names["sweep"].best.score > 0.9
    assert "64 members" in capsys.readouterr().out
    assert (tmp_path / "digits.html").exists()


@pytest.mark.slow
def test_the_page_on_nnx_runs(capsys):
    assert run("start/nnx.md")["sweep"].best.score > 0.9
    own, sweeps = capsys.readouterr().out.splitlines()[-1].split("] [")
    assert own[1:] == sweeps[:-1]


@pytest.mark.slow
def test_the_page_on_training_scripts_runs(capsys):
    assert run("start/training_script.md")["sweep"].best.score > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("checkpoints", 0.8),
        ("chips", None),
        ("folds", 0.6),
        ("generations", 0.8),
        ("large_data", 0.8),
        ("objectives", 0.6),
        ("own_learners", 0.9),
        ("plots", 0.8),
        ("results", 0.8),
        ("scaling", 0.5),
        ("searches", 0.8),
        ("spaces", 0.7),
        ("streams", 0.6),
    ],
)
def test_a_guide_runs(page, least, setup, fewer, tmp_path, capsys):
    if page == "objectives":  # which compiles a program of its own
        setup["space"]["width"] = vtune.Categorical([32])
    names = run(f"guides/{page}.md", {**setup, **fewer})
    if least is not None:
        assert names["sweep"].best.score > least
    if page == "plots":
        saved = {path.name for path in tmp_path.iterdir()}
        assert saved == {"axis.png", "isolation.png", "curves.svg", "both.png"}
    if page == "spaces":
        made = vtune.Halton(2).draw(parse(names["space"]), 0)
        assert [cohort.combination.choices for cohort in made] == [{"width": 64}, {"width": 128}]


@pytest.mark.slow
def test_the_page_on_fine_tuning_runs(setup, fewer, monkeypatch, compilations, capsys):
    """With a stand-in for safetensors, which need not be there. Other weights compile nothing."""
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32) / 8
    flat = {"encoder.dense.weight": weight, "encoder.dense.bias": weight[0]}
    stand_in = types.SimpleNamespace(load_file=lambda file: flat)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", stand_in)
    page = "guides/fine_tuning.md"
    *first, foreign, orbax = blocks_of(page)
    names = run(page, {**setup, **fewer}, first)
    sweep = names["sweep"]
    assert names["slower"].best.score > 0.7
    assert sweep.best.score > 0.65
    assert set(sweep.best.trained["params"]) == {"head"}
    with compilations() as seen:
        names = run(page, names, [foreign])
    assert seen.count == 0
    kept = names["probe"].best.variables["params"]["body"]
    np.testing.assert_array_equal(kept["kernel"], weight.T)
    np.testing.assert_array_equal(kept["bias"], weight[0])
    names = run(page, names, [orbax])
    given = names["body"]["params"]["body"]
    np.testing.assert_array_equal(names["restored"]["params"]["body"]["kernel"], given["kernel"])


@pytest.mark.slow
def test_the_page_on_callbacks_runs(setup, fewer, tmp_path, capsys):
    """But for the loggers, whose libraries need not be there."""
    sweep, loggers = blocks_of("guides/callbacks.md")
    names = run("guides/callbacks.md", {**setup, **fewer}, [sweep.replace("(0.9)", "(0.7)")])
    assert names["sweep"].best.status.startswith("stopped after round")
    assert lines_of(sweep[sweep.index("class") : sweep.index("sweep =")]) <= 15
    assert "member " in capsys.readouterr().out
    assert (tmp_path / "runs/digits/history.csv").exists()
    for name in re.findall(r"vt\.log\.(\w+)", loggers):
        assert hasattr(vtune.log, name)


@pytest.mark.slow
def test_the_page_on_refiners_runs_as_printed(capsys):
    """Its own refiner, too."""
    page = "guides/refiners.md"
    pbt, halving, own = blocks_of(page)
    names = run(page, blocks=[pbt])
    assert names["sweep"].best.score > 0.9
    names = run(page, names, [halving])
    assert names["halved"].n_candidates_ == [16, 6, 2]
    assert len(names["sweep"]) == names["hyper"].size
    names = run(page, names, [own])
    assert lines_of(own[own.index("@jax") : own.index("sweep =")]) <= 30
    drifted, first = names["sweep"], names["sweep"].settings["lr"][0]
    spread = lambda rates: np.ptp(np.log(rates))
    assert spread(drifted.settings["lr"][-1]) < 0.5 * spread(first)
    assert (drifted.parents[1:] != np.arange(16)).sum() == 7  # one copy a round


@pytest.mark.slow
def test_the_page_on_hyperparameters_runs(capsys):
    names = run("guides/hyperparameters.md")
    assert names["both"].score >= names["sweep"].best.score > 0.9


@pytest.mark.slow
def test_the_page_on_data_runs_as_printed(capsys):
    tables, texts, images = blocks_of("guides/data.md")
    names = run("guides/data.md", blocks=[tables])
    assert names["sweep"].best.score > 0.4  # of scikit-learn's LinearRegression: 0.36 to 0.5
    columns, frame = names["columns"], names["frame"]
    assert columns.numeric_names[-1] == "bmi missing"
    new = frame.iloc[:9, ::-1].assign(more=1)  # columns in another order
    for row in (columns.transform(frame), columns.transform(new)):
        predicted = np.asarray(names["sweep"].predict(row))[:9]
        expected = np.asarray(names["sweep"].predict(columns.transform(frame.head(9))))
        np.testing.assert_allclose(predicted, expected, rtol=1e-5)
    names = run("guides/data.md", names, [texts])
    assert names["sweep"].best.score > 0.5
    assert names["sweep"].predict(names["new"]).shape == (2, 6)
    assert run("guides/data.md", names, [images])["sweep"].best.score > 0.7


def test_every_page_with_blocks_is_run():
    source = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for page in PAGES:
        if "```python" in (DOCS / page).read_text():
            assert page in source or f'"{Path(page).stem}"' in source, page


@pytest.mark.parametrize("page", ["../README.md", *PAGES])
def test_what_a_page_names_is_there(page):
    text = (DOCS / page).read_text()
    for path in set(re.findall(r"\b(?:experiments|scripts|docs|vtune|tests)/[\w/.]+\w", text)):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"\bvt\.((?:[A-Za-z]\w*\.)*[A-Za-z]\w*)", text):
        found = vtune
        for part in name.split("."):
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields[part] if part in fields else getattr(found, part)


@pytest.mark.parametrize("page", ["../README.md", *PAGES])
def test_links_lead_somewhere(page):
    """Those to headings as well, by the names that mkdocs gives them."""
    here = DOCS / page
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", here.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", prose):
        file, _, heading = link.partition("#")
        target = here.parent / file if file else here
        if target.suffix == ".ipynb":  # made of this script
            target = target.with_suffix(".py")
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\s-]", "", text).strip().lower() for text in headings]
            assert heading in [re.sub(r"[-\s]+", "-", slug) for slug in slugs], link


def test_the_site_leads_to_every_page():
    """But to the records of the benchmarks, which their own page lists."""

    def leaves(nav):
        for entry in nav:
            (target,) = entry.values()
            yield from leaves(target) if isinstance(target, list) else [target]

    listed = list(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    notebooks = [
        path.relative_to(DOCS).with_suffix(".ipynb").as_posix()
        for path in (DOCS / "notebooks").glob("*.py")
    ]
    pages = [page for page in PAGES if not re.match(r"benchmarks/.*/", page)]
    assert sorted(listed) == sorted([*pages, *notebooks])


def test_every_public_name_is_in_the_reference():
    text = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    headings = set(re.findall(r"heading: ((?:vt|vtune)\.[\w.]+)", text))
    modules = {name for name in vtune.__all__ if f"heading: vt.{name}\n" not in text}
    for name in modules:  # a module, whose own names are there
        public = getattr(getattr(vtune, name), "__all__", None) or []
        assert any(heading.startswith(f"vt.{name}.") for heading in headings), name
        assert [own for own in public if not {f"vt.{name}.{own}", f"vt.{own}"} & headings] == []
    estimators = importlib.import_module("vtune.sklearn").__all__
    assert [name for name in estimators if f"vtune.sklearn.{name}" not in headings] == []
    for path in re.findall(r"^::: ([\w.]+)", text, re.MULTILINE):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_the_page_on_messages_quotes_what_is_said():
    said = []
    for path in (ROOT / "vtune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    source = "\n".join(said)
    messages = re.findall(r"^### `(.*)`$", (DOCS / "messages.md").read_text(), re.MULTILINE)
    assert len(messages) >= 25
    for message in messages:
        for part in message.split("…"):
            assert part in source, (message, part)


def test_the_page_on_refiners_names_what_a_refiner_may_have():
    optional = vtune.Refiner.__doc__.split("Optional attributes:")[1]
    names = re.findall(r"^ +(\w+): ", optional, re.MULTILINE)
    page = (DOCS / "guides/refiners.md").read_text()
    assert [name for name in names if f"| `{name}` |" not in page] == []
    assert "keeps_hparams" in names


def test_the_page_on_plots_has_all():
    text = (DOCS / "guides/plots.md").read_text()
    named = re.findall(r"`(\w+)\(", text.split("| question | plot |")[1].split("## ")[0])
    assert set(named) == set(vtune.plots.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_public_names_have_docstrings():
    for name in vtune.__all__:
        assert getattr(vtune, name).__doc__, name
