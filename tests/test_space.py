import math
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

import vtune as vt
from vtune.space.space import parse
from vtune.space.traced import from_unit, neighbour, program_space, snap
from vtune.types import float_dtype

finite = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-6, 1e6)
units = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20)


@given(finite, finite, units)
def test_float_stays_inside_read_in_float64(a, b, u):
    low, high = min(a, b), max(a, b)
    assume(low == high or np.float32(low) < np.float32(high))  # else it is refused
    values = vt.Float(low, high).from_unit(np.array(u))
    assert values.dtype == float_dtype()
    inside = np.float64(values)
    first = np.float32(low)
    if float(first) < low:
        first = np.nextafter(first, np.float32(np.inf))
    assume(float(first) <= high)  # where no float32 lies in the range, the nearest must do
    assert np.all(inside >= low)
    assert np.all(inside <= high)


@pytest.mark.parametrize("bounds", [(0.1, 0.3), (1e-4, 1e-1), (0.7, 0.9)])
@pytest.mark.parametrize("log", [False, True])
def test_float_bounds_are_rounded_inward(bounds, log):
    """float32(0.1) is above 0.1 and float32(0.3) above 0.3."""
    low, high = bounds
    ends = np.float64(vt.Float(low, high, log=log).grid(2))
    assert ends[0] >= low
    assert ends[1] <= high
    assert np.all(np.abs(ends - bounds) < 1e-6 * high)


def test_log_is_uniform_in_the_logarithm():
    u = (np.arange(1000) + 0.5) / 1000
    values = np.log10(vt.Float(1e-4, 1e0, log=True).from_unit(u))
    np.testing.assert_allclose(values, -4 + 4 * u, atol=1e-5)


@given(st.integers(-1000, 1000), st.integers(0, 1000), st.integers(1, 50), units)
def test_int_stays_on_its_steps(low, width, step, u):
    assume(width == 0 or step <= width)  # else it is refused
    values = vt.Int(low, low + width, step=step).from_unit(np.array(u))
    assert values.dtype == np.int32
    assert np.all((values >= low) & (values <= low + width))
    assert np.all((values - low) % step == 0)


@given(st.integers(1, 1000), st.integers(0, 1000), units)
def test_log_int_stays_inside(low, width, u):
    values = vt.Int(low, low + width, log=True).from_unit(np.array(u))
    assert np.all((values >= low) & (values <= low + width))


def test_int_reaches_both_ends_equally_often():
    u = (np.arange(3000) + 0.5) / 3000
    values, counts = np.unique(vt.Int(2, 4).from_unit(u), return_counts=True)
    assert list(values) == [2, 3, 4]
    assert list(counts) == [1000, 1000, 1000]


@given(st.floats(-100, 100), st.floats(0.01, 10), st.integers(0, 40), units)
def test_stepped_float_stays_on_its_steps(low, step, count, u):
    high = low + count * step
    assume(high > low or count == 0)
    distribution = vt.Float(low, high, step=step)
    for value in distribution.from_unit(np.array(u)):
        reported = distribution.report(value)
        k = (reported - low) / step
        assert abs(k - round(k)) < 1e-6
        assert low <= reported <= high


@given(st.lists(finite, min_size=1, max_size=10, unique=True), units)
def test_ordinal_reports_the_numbers_as_written(values, u):
    assume(len({np.float32(v) for v in values}) == len(values))
    distribution = vt.Ordinal(values)
    for value in distribution.from_unit(np.array(u)):
        assert distribution.report(value) in values
    assert [distribution.report(v) for v in distribution.grid(None)] == values


def test_rounding_takes_no_value_away():
    """5000.4 - 5000.3 is 0.0999999999994."""
    assert vt.Float(5000.3, 5000.4, step=1e-4).count == 1001
    assert vt.Float(-8192.094, -8192.093, step=0.001).count == 2
    assert vt.Float(0, 0.35, step=0.1).count == 4


def test_ordinal_of_whole_numbers_stays_whole():
    assert vt.Ordinal([1, 2, 8]).grid(None).dtype == np.int32
    assert isinstance(vt.Ordinal([1, 2, 8]).report(np.int32(8)), int)
    assert vt.Ordinal([0.5, 2]).grid(None).dtype == np.float32


def test_float64_programs_draw_float64(x64):
    value = vt.Float(0.0, 1.0).from_unit(np.array([1 / 3]))
    assert value.dtype == np.float64
    assert value[0] == 1 / 3


def test_parse_makes_every_structural_combination():
    space = parse(
        {
            "lr": vt.Float(0.1, 1.0),
            "width": vt.Categorical([1, 2]),
            "depth": vt.Categorical([3, 4, 5]),
            "bias": True,
        }
    )
    assert [c.choices for c in space.combinations] == [
        {"width": w, "depth": d} for w in (1, 2) for d in (3, 4, 5)
    ]
    assert all(c.fixed == {"bias": True} for c in space.combinations)
    assert all(list(c.traced) == ["lr"] for c in space.combinations)
    assert space.names == ("lr", "width", "depth", "bias")


def test_a_list_of_spaces_is_their_union():
    space = parse([{"kind": "sgd", "lr": vt.Float(0.1, 1)}, {"kind": "adam", "b1": vt.Float(0, 1)}])
    assert [c.fixed["kind"] for c in space.combinations] == ["sgd", "adam"]
    assert [list(c.traced) for c in space.combinations] == [["lr"], ["b1"]]


@given(st.integers(1, 30), st.integers(1, 30))
def test_log_grid_of_whole_numbers_has_all_its_points(high, points):
    values = vt.Int(1, high + 1, log=True).grid(min(points, high + 1))
    assert len(set(values.tolist())) == min(points, high + 1)


@jax.jit
def snapped(program, values):
    return {name: snap(program[name], values[name]) for name in values}


@given(st.lists(st.floats(-10, 10, width=32), min_size=9, max_size=9))
def test_snap_brings_anything_onto_the_grid(values):
    """Whatever a refiner does (read in float64)."""
    space = {
        "float": vt.Float(0.1, 0.3),
        "stepped": vt.Float(-1.0, 2.1, step=0.5),
        "int": vt.Int(-3, 6, step=2),
        "ordinal": vt.Ordinal([0.001, 1.0, 5]),
    }
    kinds = {n: d.grid(2 if n == "float" else None).dtype for n, d in space.items()}
    every = snapped(program_space(space), {n: np.asarray(values).astype(kinds[n]) for n in space})
    for name, distribution in space.items():
        found = np.asarray(every[name])
        assert found.dtype == kinds[name]
        for value in found:
            exact = distribution.report(value)
            assert distribution.contains(exact)
            assert abs(float(value) - exact) < 1e-6
        if name == "float":
            assert np.all((np.float64(found) >= 0.1) & (np.float64(found) <= 0.3))


@pytest.mark.parametrize(
    ("distribution", "top"),
    [
        (vt.Float(0, 1, step=0.001), 1.0),
        (vt.Float(1, 2, step=0.001), 2.0),
        (vt.Float(0.0, 1.0, step=0.25), 1.0),
        (vt.Float(-3, 50, step=1e-4), 50.0),
        (vt.Int(-(2**30), 2**30 - 2), 2**30 - 2),
        (vt.Int(0, 2**31 - 2), 2**31 - 2),
        (vt.Int(1, 2**31 - 1, step=3), 2**31 - 1),
    ],
    ids=str,
)
def test_both_ends_of_a_grid_are_reached(distribution, top):
    program = program_space({"a": distribution})["a"]
    dtype = jnp.asarray(program.low).dtype
    ends = np.asarray([distribution.low, top], dtype)
    moved = jax.jit(neighbour)
    step = lambda values, up: np.asarray(moved(program, values, up))
    up, down = np.array([True, True]), np.array([False, False])
    np.testing.assert_array_equal(snapped({"a": program}, {"a": ends})["a"], ends)
    assert distribution.report(step(ends, up)[1]) == top
    assert distribution.report(step(ends, down)[0]) == distribution.low
    inner = step(step(ends, up), down)
    assert distribution.report(inner[0]) == distribution.low
    assert distribution.low < step(ends, down)[1] < ends[1]
    units = np.array([0.0, 0.25, 0.5, 0.75, 1 - 2**-24], np.float32)
    drawn = np.asarray(jax.jit(from_unit)(program, units))
    assert len(set(drawn.tolist())) >= 4
    assert list(drawn) == sorted(drawn)


def test_program_space_holds_numbers_as_leaves():
    """Other bounds are other arguments of the same program."""
    a = program_space({"lr": vt.Float(1e-3, 0.1, log=True), "k": vt.Int(1, 4)})
    b = program_space({"lr": vt.Float(1e-2, 0.3, log=True), "k": vt.Int(2, 9)})
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert [leaf.dtype for leaf in jax.tree.leaves(a)] == ["int32"] * 3 + ["float32"] * 2
    assert jnp.asarray(jax.jit(lambda s: s["lr"].high - s["k"].low)(b)) == pytest.approx(-1.7)


def foreign(module, *names, **attributes):
    """An object of another library's, by the names of its module and its classes."""
    kind = object
    for name in reversed(names):
        kind = type(name, (kind,), {"__module__": module})
    made = kind()
    vars(made).update(attributes)
    return made


def optuna(name, **attributes):
    return foreign("optuna.distributions", name, "BaseDistribution", **attributes)


def ray(name, sampler=None, q=None, **attributes):
    of_module = "ray.tune.search.sample"
    made = None if sampler is None else foreign(of_module, sampler, base=10)
    if q is not None:
        made = foreign(of_module, "Quantized", sampler=made, q=q)
    return foreign(of_module, name, "Domain", sampler=made, **attributes)


def wandb(kind, low, high, **more):
    return {"distribution": kind, "min": low, "max": high, **more}


TRANSLATED = [
    (stats.loguniform(1e-4, 1e-1), vt.Float(1e-4, 1e-1, log=True)),
    (stats.loguniform(1, 2, 0, 10), vt.Float(10, 20, log=True)),
    (stats.uniform(1, 2), vt.Float(1, 3)),
    (stats.uniform(loc=-1, scale=2), vt.Float(-1, 1)),
    (stats.randint(1, 5), vt.Int(1, 4)),
    (optuna("FloatDistribution", low=0.1, high=1, log=True, step=None), vt.Float(0.1, 1, log=True)),
    (optuna("IntDistribution", low=1, high=9, log=False, step=2), vt.Int(1, 9, step=2)),
    (optuna("CategoricalDistribution", choices=("a", None)), vt.Categorical(["a", None])),
    (ray("Float", "_Uniform", lower=0, upper=1), vt.Float(0, 1)),
    (ray("Float", "_LogUniform", lower=0.1, upper=1), vt.Float(0.1, 1, log=True)),
    (ray("Float", "_Uniform", q=0.5, lower=0, upper=2), vt.Float(0, 2, step=0.5)),
    (ray("Integer", "_Uniform", lower=0, upper=10), vt.Int(0, 9)),
    (ray("Integer", "_LogUniform", lower=1, upper=10), vt.Int(1, 9, log=True)),
    (ray("Integer", "_Uniform", q=2, lower=0, upper=10), vt.Int(0, 10, step=2)),
    (ray("Integer", "_Uniform", q=4, lower=5, upper=22), vt.Int(8, 20, step=4)),
    (ray("Integer", "_LogUniform", q=1, lower=1, upper=10), vt.Int(1, 9, log=True)),
    (ray("Categorical", categories=["a", "b"]), vt.Categorical(["a", "b"])),
    ({"grid_search": ["a", 1]}, vt.Categorical(["a", 1])),
    ({"value": 0.9}, 0.9),
    ({"value": [1, 2]}, vt.Categorical([[1, 2]])),
    ({"values": ["a", 1]}, vt.Categorical(["a", 1])),
    ({"values": [1, 2], "probabilities": [0.5, 0.5]}, vt.Categorical([1, 2])),
    ({"min": 1, "max": 8}, vt.Int(1, 8)),
    ({"min": 1, "max": 8.0}, vt.Float(1, 8)),
    (wandb("uniform", 1, 8), vt.Float(1, 8)),
    (wandb("int_uniform", 1.0, 8), vt.Int(1, 8)),
    (wandb("q_uniform", 5, 22, q=4), vt.Int(8, 20, step=4)),
    (wandb("q_uniform", 0.05, 0.72, q=0.1), vt.Float(0.1, 0.7, step=0.1)),
    (wandb("q_uniform", 0.5, 2), vt.Float(1, 2, step=1)),
    (wandb("q_uniform", 0.5, 1.5, q=1), vt.Int(1, 1)),
    (wandb("log_uniform", 0, 1), vt.Float(1, math.e, log=True)),
    (wandb("log_uniform_values", 1e-4, 0.1), vt.Float(1e-4, 0.1, log=True)),
    (wandb("inv_log_uniform", -1, 0), vt.Float(1, math.e, log=True)),
    (wandb("inv_log_uniform_values", 1e-4, 0.1), vt.Float(1e-4, 0.1, log=True)),
    (wandb("q_log_uniform_values", 8, 512), vt.Int(8, 512, log=True)),
]


@pytest.mark.parametrize(("theirs", "ours"), TRANSLATED, ids=lambda value: type(value).__name__)
def test_distributions_of_other_libraries_are_taken_for_ours(theirs, ours):
    assert parse({"a": theirs}).parts == ({"a": ours},)


def test_optunas_own_distributions():
    theirs = pytest.importorskip("optuna.distributions")
    space = {
        "lr": theirs.FloatDistribution(1e-4, 1e-1, log=True),
        "n": theirs.IntDistribution(1, 9, step=2),
        "c": theirs.CategoricalDistribution(["a", None]),
    }
    ours = {"lr": vt.Float(1e-4, 1e-1, log=True), "n": vt.Int(1, 9, step=2)}
    assert parse(space).parts == ({**ours, "c": vt.Categorical(["a", None])},)


def test_a_sweep_of_weights_and_biases_is_a_space():
    parameters = {"lr": wandb("log_uniform_values", 1e-4, 0.1), "width": {"values": [8, 16]}}
    ours = ({"lr": vt.Float(1e-4, 0.1, log=True), "width": vt.Categorical([8, 16])},)
    metric = {"name": "loss", "goal": "minimize"}
    assert parse({"method": "bayes", "metric": metric, "parameters": parameters}).parts == ours
    assert parse({"parameters": parameters}).parts == ours
    assert parse(parameters).parts == ours
    assert parse({**parameters, "b1": 0.9}).parts == ({**ours[0], "b1": 0.9},)
    own = {"clip": vt.Categorical([{"min": 0, "max": 1}]), "deep": {"clip": {"min": 0, "max": 1}}}
    assert parse(own).parts == (own,)
    assert parse({"clip": {"min": 0, "max": 1}}, saved=True).parts[0]["clip"] == {
        "min": 0,
        "max": 1,
    }


def test_rays_own_distributions():
    theirs = pytest.importorskip("ray.tune")
    space = {
        "lr": theirs.loguniform(1e-4, 1e-1),
        "q": theirs.quniform(0, 2, 0.5),
        "n": theirs.randint(1, 9),
        "k": theirs.qrandint(5, 22, 4),
        "c": theirs.choice(["a", None]),
        "g": theirs.grid_search(["a", None]),
    }
    ours = {"lr": vt.Float(1e-4, 1e-1, log=True), "q": vt.Float(0, 2, step=0.5), "n": vt.Int(1, 8)}
    ours["k"] = vt.Int(8, 20, step=4)
    either = vt.Categorical(["a", None])
    assert parse(space).parts == ({**ours, "c": either, "g": either},)


def test_numbers_of_any_kind_are_taken_for_numbers():
    """Of NumPy's narrow types differences would overflow; a program takes no exact numbers."""
    assert vt.Float(np.int8(-100), np.int8(100), step=np.int8(1)).count == 201
    assert vt.Int(np.int8(-100), np.int8(100)).count == 201
    assert vt.Int(np.uint64(1), np.array(9)) == vt.Int(1, 9)
    assert vt.Float(np.float16(0.1), jnp.float32(0.5)) == vt.Float(0.1, 0.5)
    assert vt.Float(Fraction(1, 10), Decimal("0.5")) == vt.Float(0.1, 0.5)
    ordinal = vt.Ordinal([np.float32(0.1), np.int8(-128), Fraction(1, 2), jnp.int32(3)])
    assert ordinal.values == (0.1, -128, 0.5, 3)
    assert {type(value) for value in ordinal.values} == {int, float}
    half = Decimal("0.5")
    fixed = {
        "a": half,
        "b": Fraction(1, 2),
        "c": np.longdouble(0.5),
        "d": vt.Categorical([half, 1]),
    }
    (part,) = parse({**fixed, "e": np.array(None)}).parts
    assert part == {"a": 0.5, "b": 0.5, "c": 0.5, "d": vt.Categorical([0.5, 1]), "e": None}
    assert {type(part[name]) for name in "abc"} == {float}
    given = vt.Given([{"lr": half, "d": half}, {"lr": jnp.float32(0.1), "d": 1}])
    cohorts = given.draw(parse({"lr": vt.Float(0.1, 0.5), "d": fixed["d"]}), 0)
    assert [float(cohort.hparams["lr"][0]) for cohort in cohorts] == [0.5, pytest.approx(0.1)]


def test_fixed_values_that_are_meant_stay():
    fixed = {
        "strides": (2, 2),
        "layers": (64, 32),
        "name": "resnet18",
        "norm": "inf",
        "three": (1, 2, 3),
        "betas": vt.Categorical([(0.9, 0.999)]),
        "widths": vt.Categorical([[64, 128]]),
    }
    assert parse(fixed).parts == (fixed,)
    assert parse({"pair": (1, 2)}, saved=True).parts == ({"pair": (1, 2)},)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda: vt.Float(1.0, 0.1), ValueError, r"low=1.0 is above high=0.1"),
        (
            lambda: vt.Float(0.0, 1.0, log=True),
            ValueError,
            r"log=True needs low > 0, got low=0.0",
        ),
        (lambda: vt.Float(-1.0, 1.0, log=True), ValueError, r"log=True needs low > 0"),
        (lambda: vt.Float(NAN, 1.0), ValueError, r"low=nan must be finite"),
        (lambda: vt.Float(0.0, INF), ValueError, r"high=inf must be finite"),
        (lambda: vt.Float("a", 1.0), TypeError, r"low='a' is not a number"),
        (lambda: vt.Float(0, 1, step=0), ValueError, r"step=0 must be above 0"),
        (
            lambda: vt.Float(0, 1, step=5),
            ValueError,
            r"step=5 is larger than the range, so low=0 would be the only value",
        ),
        (lambda: vt.Float(0, 1, step=1e-30), ValueError, r"step=1e-30 makes more than 2147483647"),
        (lambda: vt.Float(0.1, 1, log="yes"), TypeError, r"Float: log='yes' must be True or False"),
        (lambda: vt.Int(1, 9, log="no"), TypeError, r"Int: log='no' must be True or False"),
        (
            lambda: vt.Float(0, 10**400),
            ValueError,
            r"Float: 1000000\d*\.\.\.\d* does not fit float32",
        ),
        (lambda: vt.Int(0, 10**400), ValueError, r"Int: 0 to 100\d*\.\.\.\d* does not fit 32 bits"),
        (lambda: vt.Ordinal([10**400]), ValueError, r"Ordinal: 1000000.* does not fit float32"),
        (
            lambda: vt.Ordinal([0.1, 0.1 + 1e-12]),
            ValueError,
            r"0.1 and 0.1000000000.* are one number in float32; leave one out, or set jax",
        ),
        (lambda: vt.Ordinal(b"12"), TypeError, r"b'12' is not a list of numbers$"),
        (lambda: vt.Ordinal(map(float, "12")), TypeError, r"write vt.Ordinal\(list\(...\)\)"),
        (lambda: vt.Ordinal(np.array(1.0)), TypeError, r"array\(1.\) is not a list of numbers$"),
        (lambda: vt.Categorical(b"ab"), TypeError, r"b'ab' is not a list of choices$"),
        (lambda: vt.Categorical(iter("ab")), TypeError, r"write vt.Categorical\(list\(...\)\)"),
        (lambda: parse({"lr": map(float, "12")}), TypeError, r"\['lr'\]: a map is no value that"),
        (
            lambda: parse({"lr": {1: 2}.keys()}),
            TypeError,
            r"write vt.Ordinal\(list\(...\)\) or vt.",
        ),
        (lambda: parse({"c": vt.Categorical([iter([1])])}), TypeError, r"a list_iterator is no va"),
        (
            lambda: parse({"lr": vt.Halton(4)}),
            TypeError,
            r"\['lr'\]: vt.Halton is no value; write vt.tune\(..., search=vt.Halton\(...\)\)",
        ),
        (lambda: parse({"r": vt.Categorical([vt.PBT()])}), TypeError, r"refiner=vt.PBT\(...\)"),
        (
            lambda: parse({"lr": np.array("0.1")}),
            TypeError,
            r"'0.1' is a string; write 0.1 without",
        ),
        (lambda: vt.Float(1, 2, step=0.1, log=True), ValueError, r"drop one"),
        (lambda: vt.Float(0, 1e300), ValueError, r"does not fit float32"),
        (
            lambda: vt.Float(1e-300, 1, log=True),
            ValueError,
            r"low of 1.2e-38 or more, got low=1e-300",
        ),
        (lambda: vt.Ordinal([1, 1e300]), ValueError, r"Ordinal: 1e\+300 does not fit float32"),
        (lambda: vt.Categorical([np.nan, np.nan]), ValueError, r"choice nan is given twice"),
        (lambda: vt.Categorical([0.0, -0.0]), ValueError, r"choice -0.0 is given twice"),
        (
            lambda: vt.Int(-(2**30), 2**30),
            ValueError,
            r"-1073741824 to 1073741824 are more than 2147483647 values; .*write vt.Float",
        ),
        (lambda: vt.Int(5, 1), ValueError, r"low=5 is above high=1"),
        (lambda: vt.Int(0.5, 3), TypeError, r"low=0.5 must be a whole number"),
        (lambda: vt.Int(0, 3, log=True), ValueError, r"log=True needs low > 0"),
        (lambda: vt.Int(1, 3, step=0), ValueError, r"step=0 must be at least 1"),
        (lambda: vt.Int(0, 2**40), ValueError, r"does not fit 32 bits"),
        (lambda: vt.Ordinal([]), ValueError, r"no values"),
        (lambda: vt.Ordinal([1, 1.0]), ValueError, r"1.0 is given twice"),
        (lambda: vt.Ordinal([1, NAN]), ValueError, r"nan is not finite"),
        (lambda: vt.Ordinal(["a"]), TypeError, r"use vt.Categorical"),
        (lambda: vt.Ordinal(3), TypeError, r"not a list of numbers"),
        (lambda: vt.Categorical([]), ValueError, r"no choices"),
        (
            lambda: vt.Categorical(["relu", "tanh", "relu"]),
            ValueError,
            r"'relu' is given twice",
        ),
        (lambda: vt.Categorical({"a", "b"}), TypeError, r"not a list of choices"),
        (lambda: vt.Float(1, 1).grid(2), ValueError, r"has no 2 different values"),
        (lambda: vt.Categorical("relu"), TypeError, r"not a list of choices"),
        (lambda: parse({}), ValueError, r"space: empty"),
        (lambda: parse([]), ValueError, r"give at least one dict"),
        (lambda: parse(3), TypeError, r"not a dict of name"),
        (lambda: parse({"lr": [0.1, 0.2]}), TypeError, r"vt.Ordinal\(\[...\]\)"),
        (lambda: parse({"lr": vt.Float}), TypeError, r"is the class; call it"),
        (lambda: parse({3: 1.0}), TypeError, r"name 3 is not a non-empty string"),
        (lambda: parse({"total_steps": 3}), ValueError, r"filled in by vtune"),
        (lambda: parse({"lr": [1, 2]}), TypeError, r"for a range, vt.Float\(low, high\) or vt.Int"),
        (
            lambda: parse({"lr": (1e-4, 0.1)}),
            TypeError,
            r"\['lr'\]: \(0.0001, 0.1\) would be a fixed value; .* vt.Float\(0.0001, 0.1\); to fix",
        ),
        (lambda: parse({"n": (1, 4)}), TypeError, r"vt.Int\(1, 4\); to fix the pair, vt.Categ"),
        (
            lambda: parse({"lr": "1e-3"}),
            TypeError,
            r"'1e-3' is a string; write 1e-3 without quotes",
        ),
        (
            lambda: parse({"opt": {"lr": vt.Float(0.1, 1)}}),
            TypeError,
            r'space\[\'opt\'\] holds a vt.Float, .* such as \{"opt_lr": vt.Float\(...\)\}',
        ),
        (lambda: parse({"lr": (vt.Float(0.1, 1), 1)}), TypeError, r"\['lr'\] holds a vt.Float"),
        (lambda: parse({"opt": {"lr": vt.Float}}), TypeError, r"\['opt'\] holds a vt.Float"),
        (lambda: parse({"c": vt.Categorical([vt.Int])}), TypeError, r"\['c'\] holds a vt.Int"),
        (
            lambda: parse({"opt": {"lr": {"grid_search": [1, 2]}}}),
            TypeError,
            r"\['opt'\] holds a vt.Categorical",
        ),
        (lambda: parse({"a": {"b": [vt.Int(0, 1)]}}), TypeError, r"\['a'\] holds a vt.Int"),
        (lambda: parse({"a": {"b": stats.randint(0, 5)}}), TypeError, r"\['a'\] holds a vt.Int"),
        (
            lambda: parse({"c": vt.Categorical([{"lr": vt.Float(0, 1)}, 2])}),
            TypeError,
            r"\['c'\] holds a vt.Float, .*; hyperparameters that only some choices have are a list",
        ),
        (
            lambda: parse({"lr": stats.norm(0, 1)}),
            TypeError,
            r"\['lr'\]: norm\(...\) of scipy is no distribution of vtune's; write vt.Float\(low",
        ),
        (
            lambda: parse({"lr": stats.loguniform(1, 2, loc=3)}),
            TypeError,
            r"loguniform\(...\) of sc",
        ),
        (
            lambda: parse({"lr": stats.uniform}),
            TypeError,
            r"uniform is called with no range; write",
        ),
        (
            lambda: parse({"lr": foreign("hyperopt.pyll.base", "Apply")}),
            TypeError,
            r"\['lr'\]: Apply of hyperopt is no distribution of vtune's",
        ),
        (
            lambda: parse({"lr": ray("Float", "_Normal", lower=0, upper=1)}),
            TypeError,
            r"Float of ray is no",
        ),
        (
            lambda: parse({"lr": {"distribution": "normal", "mu": 0, "sigma": 1}}),
            TypeError,
            r"\['lr'\]: 'normal' of Weights & Biases is no distribution of vtune's; write",
        ),
        (lambda: parse({"lr": {"mu": 0, "sigma": 1}}), TypeError, r"'normal' of Weights & Biases"),
        (
            lambda: parse({"opt": {"parameters": {"lr": {"min": 0, "max": 1}}}}),
            TypeError,
            r"\['opt'\] has parameters inside, and a space is flat; write each as .*optimizer.lr",
        ),
        (
            lambda: parse({"method": "grid", "parameters": {"lr": {"minimum": 1}}}),
            TypeError,
            r"\['parameters'\]\['lr'\]: \{'minimum': 1\} is no parameter of Weights & Biases; wri",
        ),
        (
            lambda: parse({"lr": wandb("log_uniform_values", "1e-4", 1)}),
            TypeError,
            r"\['lr'\]: min='1e-4' of 'log_uniform_values' is not a number",
        ),
        (
            lambda: parse({"lr": wandb("log_uniform", 1e-4, 1e4)}),
            ValueError,
            r"ends of log_uniform are exponents, .*; for the values themselves write \"log_",
        ),
        (
            lambda: parse({"b": wandb("q_log_uniform_values", 32, 256, q=8)}),
            ValueError,
            r"\['b'\]: vtune has no steps on a logarithmic scale .*, or the values, \{\"values\"",
        ),
        (
            lambda: parse({"lr": {"values": [1, 2], "probabilities": [0.1, 0.9]}}),
            TypeError,
            r"\['lr'\]: probabilities=\[0.1, 0.9\] differ, and vtune deals choices evenly",
        ),
        (lambda: parse({"lr": wandb("q_uniform", 0, 1, q=0)}), ValueError, r"q=0 must be a number"),
        (lambda: parse({"lr": wandb("q_uniform", 4, 6, q=7)}), ValueError, r"no multiple of q=7"),
        (lambda: parse({"lr": {"distribution": "constant"}}), TypeError, r"has no 'value'; add it"),
    ],
)
def test_bad_spaces_are_named(build, error, says):
    with pytest.raises(error, match=says):
        build()
