import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import quadratic

import vtune as vt
from vtune.search.base import drawn
from vtune.space.space import parse
from vtune.tuning.arguments import TuneArguments, check_arguments

SPACE = {
    "lr": vt.Float(1e-4, 1e-1, log=True),
    "k": vt.Int(1, 9, step=2),
    "c": vt.Ordinal([0.001, 1, 100]),
    "width": vt.Categorical([8, 16]),
    "act": vt.Categorical(["relu", "tanh", "gelu"]),
    "fixed": 0.5,
}
NAN = float("nan")
SEARCHES = {"random": vt.Random, "halton": vt.Halton}


def rows(space, search, seed=0):
    """{id: setting as plain values} of a drawn population."""
    found = {}
    for cohort in search.draw(parse(space), seed):
        for slot, i in enumerate(cohort.id):
            traced = {
                k: cohort.combination.traced[k].report(v[slot]) for k, v in cohort.hparams.items()
            }
            assert int(i) not in found
            found[int(i)] = {**cohort.combination.static, **traced}
    assert sorted(found) == list(range(len(found)))
    return found


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@given(n=st.integers(6, 60), seed=st.integers(0, 2**32 - 1))
def test_every_value_lies_in_its_range(search, n, seed):
    drawn = rows(SPACE, search(n), seed)
    assert len(drawn) == n
    for setting in drawn.values():
        assert 1e-4 <= setting["lr"] <= 1e-1
        assert setting["k"] in (1, 3, 5, 7, 9)
        assert setting["c"] in (0.001, 1, 100)
        assert setting["fixed"] == 0.5


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@given(n=st.integers(6, 40), more=st.integers(0, 40), seed=st.integers(0, 99))
def test_a_larger_search_extends_a_smaller_one(search, n, more, seed):
    small, large = rows(SPACE, search(n), seed), rows(SPACE, search(n + more), seed)
    assert all(large[i] == small[i] for i in small)


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@given(n=st.integers(6, 30), skip=st.integers(0, 30))
def test_skip_goes_on_where_another_search_stopped(search, n, skip):
    whole, rest = rows(SPACE, search(skip + n)), rows(SPACE, search(n, skip=skip))
    assert [rest[i] for i in range(n)] == [whole[skip + i] for i in range(n)]


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_draws_repeat_by_seed(search):
    assert rows(SPACE, search(12), 7) == rows(SPACE, search(12), 7)
    assert rows(SPACE, search(12), 7) != rows(SPACE, search(12), 8)


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_combinations_are_dealt_in_turn(search):
    drawn = rows(SPACE, search(13))
    order = list(itertools.product([8, 16], ["relu", "tanh", "gelu"]))
    for i, setting in drawn.items():
        assert (setting["width"], setting["act"]) == order[i % 6]


@pytest.mark.parametrize("cohorts", [1, 2, 3])
def test_halton_covers_each_cohort_evenly(cohorts):
    """Every C-th point of one sequence would leave most of the range empty."""
    space = {"u": vt.Float(0.0, 1.0), "s": vt.Categorical(list(range(cohorts)))}
    for cohort in vt.Halton(16 * cohorts).draw(parse(space), 0):
        counts, _ = np.histogram(cohort.hparams["u"], bins=8, range=(0, 1))
        assert np.all(counts == 2)


def test_halton_without_traced_values():
    drawn = rows({"width": vt.Categorical([1, 2]), "lr": 0.1}, vt.Halton(4))
    assert [drawn[i]["width"] for i in range(4)] == [1, 2, 1, 2]


@given(lr=st.integers(1, 7), k=st.integers(1, 5), widths=st.integers(1, 3), union=st.booleans())
def test_grid_takes_every_point_exactly_once(lr, k, widths, union):
    part = {
        "lr": vt.Float(0.01, 1.0, log=True),
        "k": vt.Int(1, 5),
        "c": vt.Ordinal([3, 1, 2]),
        "width": vt.Categorical(list(range(widths))),
    }
    space = [part, {"lr": vt.Float(0.1, 0.2), "other": vt.Categorical([True, False])}]
    drawn = rows(space if union else part, vt.Grid({"lr": lr, "k": k}))
    assert len(drawn) == lr * k * 3 * widths + (2 * lr if union else 0)
    seen = {tuple(sorted(setting.items(), key=str)) for setting in drawn.values()}
    assert len(seen) == len(drawn)
    firsts = {s["lr"] for s in drawn.values() if "k" in s}
    if lr > 1:
        assert min(firsts) == pytest.approx(0.01)
        assert max(firsts) == pytest.approx(1.0)


def test_grid_takes_values_and_middle():
    drawn = rows(
        {"lr": vt.Float(0.01, 1.0, log=True), "k": vt.Int(1, 9)},
        vt.Grid({"lr": 1, "k": [2, 3]}),
    )
    assert [s["k"] for s in drawn.values()] == [2, 3]
    assert drawn[0]["lr"] == pytest.approx(0.1)


def test_given_keeps_the_order():
    settings = [
        {"lr": 0.1, "k": 3, "c": 1, "width": 16, "act": "tanh"},
        {"lr": 1e-4, "k": 9, "c": 100, "width": 8, "act": "relu", "fixed": 0.5},
        {"lr": 0.01, "k": 1, "c": 0.001, "width": 16, "act": "tanh"},
    ]
    drawn = rows(SPACE, vt.Given(settings))
    for i, setting in enumerate(settings):
        assert drawn[i] == {**setting, "fixed": 0.5, "lr": pytest.approx(setting["lr"])}


def test_settings_stand_for_themselves():
    """A data frame has NaN where a row's part of the space has no such name, and then floats."""
    either = [
        {"lr": vt.Float(0, 1), "width": vt.Categorical([8, 16])},
        {"lr": vt.Float(0, 1), "act": vt.Categorical(["relu", "tanh"])},
    ]
    settings = [{"lr": 0.5, "width": 16}, {"lr": 0.25, "act": "tanh"}]
    frame = pd.DataFrame(settings)
    assert frame["width"].dtype == float
    wanted = rows(either, vt.Given(settings))
    assert rows(either, vt.Given(frame)) == rows(either, vt.Given(tuple(settings))) == wanted
    for search in (settings, tuple(settings), frame, vt.Given(frame)):
        arguments = TuneArguments(
            learner=quadratic(), space=either, search=search, steps=1, metric="loss"
        )
        checked = check_arguments(arguments).search
        assert (type(checked), rows(either, checked)) == (vt.Given, wanted)


def test_fewer_members_than_combinations_is_said():
    with pytest.warns(UserWarning, match=r"4 of them are not tried"):
        rows(SPACE, vt.Random(2))


GOOD = {"lr": 0.1, "k": 3, "c": 1, "width": 16, "act": "tanh"}


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda: vt.Grid({"momentum": 3}), ValueError, r"'momentum' is not in the space"),
        (lambda: vt.Grid({"lr": 0}), ValueError, r"lr=0 points; give at least 1"),
        (lambda: vt.Grid({"lr": []}), ValueError, r"empty list of values"),
        (lambda: vt.Grid({"lr": 0.5}), TypeError, r"neither a number of points"),
        (lambda: vt.Grid({"lr": [7.0]}), ValueError, r"lr=7.0, which is not in Float"),
        (lambda: vt.Grid({"fixed": 2}), ValueError, r"is fixed to 0.5"),
        (lambda: vt.Grid({"width": 2}), ValueError, r"all its choices are always taken"),
        (lambda: vt.Grid({"k": 6, "lr": 1}), ValueError, r"'k' has only 5 values"),
        (lambda: vt.Grid(), ValueError, r"'lr' is continuous; give it a number of points"),
        (lambda: vt.Grid({"lr": 10**6}), ValueError, r"90,000,000 settings; take fewer points"),
        (lambda: vt.Random(10**8), ValueError, r"100,000,000 settings; draw fewer, 10,000,000 at"),
        (lambda: vt.Grid(3), TypeError, r"not a dict such as"),
        (lambda: vt.Random(0), ValueError, r"a population has at least 1 member"),
        (lambda: vt.Halton(-3), ValueError, r"n=-3; a population has at least 1"),
        (lambda: vt.Halton(2.5), TypeError, r"n=2.5 is not a whole number"),
        (lambda: vt.Random(3, skip=-1), ValueError, r"skip=-1 must be"),
        (
            lambda: vt.Halton(3, skip=10**9),
            ValueError,
            r"skip=1,000,000,000 must be 100,000,000",
        ),
        (lambda: vt.Grid({"lr": np.array(0.5)}), TypeError, r"neither a number of points"),
        (lambda: vt.Given([]), ValueError, r"no settings"),
        (lambda: vt.Given({"lr": 1}), TypeError, r"not a list of dicts"),
        (lambda: vt.Given([3]), TypeError, r"setting 0 is 3, not a dict"),
        (lambda: vt.Given(pd.DataFrame()), ValueError, r"no settings"),
        (
            lambda: vt.Given(pd.DataFrame([GOOD]).assign(accuracy=0.5)),
            ValueError,
            r"'accuracy', which is not in the space \(it has 'lr', ",
        ),
        (lambda: vt.Given([{**GOOD, "x": 1}]), ValueError, r"'x', which is not in the space"),
        (lambda: vt.Given([{"lr": 0.1}]), ValueError, r"setting 0 lacks 'k', 'c', 'width'"),
        (lambda: vt.Given([{**GOOD, "lr": 9}]), ValueError, r"lr=9, which is not in Float"),
        (lambda: vt.Given([{**GOOD, "k": 2}]), ValueError, r"k=2, which is not in Int"),
        (
            lambda: vt.Given([{**GOOD, "width": 9}]),
            ValueError,
            r"width=9, which is not a choice",
        ),
        (
            lambda: vt.Given([{**GOOD, "fixed": 9}]),
            ValueError,
            r"fixed=9, which is not a choice",
        ),
    ],
)
def test_bad_searches_are_named(build, error, says):
    with pytest.raises(error, match=says):
        build().draw(parse(SPACE), 0)


class Own:
    """A search of the user's own: 4 members, with parts of what it draws replaced."""

    def __init__(self, result=None, **parts):
        self.result, self.parts = result, parts

    def draw(self, space, seed):
        hparams = {"lr": [0.1, 0.2, 0.3, 0.4], "k": [1, 2, 3, 1], "c": [0.5, 2, 2, 2]}
        cohort = vt.Cohort(space.combinations[0], np.arange(4), hparams)._replace(**self.parts)
        return (cohort,) if self.result is None else self.result([cohort])


OWN = {"lr": vt.Float(0.1, 0.4), "k": vt.Int(1, 3), "c": vt.Ordinal([0.5, 2])}
VALUES = {"lr": [0.1] * 4, "k": [1] * 4, "c": [2] * 4}


@pytest.mark.parametrize(
    ("search", "error", "says"),
    [
        (
            Own(lambda drawn: {}),
            TypeError,
            r"Own.draw returned {}; return a tuple of vt.Cohort",
        ),
        (Own(lambda drawn: ()), TypeError, r"Own.draw returned \(\)"),
        (Own(lambda drawn: drawn[0]), TypeError, r"Own.draw returned Cohort\("),
        (
            Own(lambda drawn: [VALUES]),
            TypeError,
            r"settings as dicts: search=vt.Given\(\[...\]\)",
        ),
        (Own(combination=OWN), TypeError, r"Own.draw returned \(Cohort"),
        (Own(id=np.arange(0)), TypeError, r"Own.draw returned \(Cohort"),
        (Own(id=[0, 1, 1, 2]), ValueError, r"gave the ids \[0, 1, 1, 2\]; .* be 0 to 3, each once"),
        (Own(id=np.arange(4.0)), ValueError, r"gave the ids \[0.0, 1.0, 2.0, 3.0\]"),
        (Own(id=np.arange(4).reshape(2, 2)), ValueError, r"gave the ids \[\[0, 1\], \[2, 3\]\]"),
        (Own(hparams={}), ValueError, r"of the shapes {} for 4 members; give every one of \['lr',"),
        (Own(hparams={**VALUES, "lr": [0.1]}), ValueError, r"'lr': \(1,\)"),
        (Own(hparams={**VALUES, "lr": None}), ValueError, r"'lr': \(\)"),
        (
            Own(hparams={**VALUES, "lr": [NAN] * 4}),
            ValueError,
            r"gave lr=.*nan.*, which is not in",
        ),
        (
            Own(hparams={**VALUES, "lr": [0.5] * 4}),
            ValueError,
            r"gave lr=.*, which is not in Fl",
        ),
        (
            Own(hparams={**VALUES, "lr": ["a"] * 4}),
            ValueError,
            r"gave lr=.*, which is not in Fl",
        ),
        (Own(hparams={**VALUES, "k": [1.5] * 4}), ValueError, r"gave k=.*, which is not in Int"),
        (
            Own(hparams={**VALUES, "c": [1.0] * 4}),
            ValueError,
            r"gave c=.*, which is not in Ord",
        ),
    ],
)
def test_what_a_users_search_draws_is_checked(search, error, says):
    with pytest.raises(error, match=says):
        drawn(search, parse(OWN), 0)


@pytest.mark.parametrize("result", [None, list], ids=["tuple", "list"])
def test_what_a_users_search_draws_is_cast_to_the_programs_types(result):
    (cohort,) = drawn(Own(result), parse(OWN), 0)
    assert {name: str(values.dtype) for name, values in cohort.hparams.items()} == {
        "lr": "float32",
        "k": "int32",
        "c": "float32",
    }
    assert cohort.id.dtype == np.int32
    assert np.float64(cohort.hparams["lr"]).max() <= 0.4


def test_a_users_search_of_any_size_is_a_dataclass(refused):
    sizeless = type("Sizeless", (Own,), {"n": None})()
    with refused(TypeError, r"Sizeless: n is None, and the refiner asks for 5 members; make"):
        vt.tune(quadratic(), OWN, search=sizeless, refiner=vt.Hyperband(max_rounds=3), steps=3)
