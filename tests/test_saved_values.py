"""What a file holds of the values in a space: most as they are, functions by name, others by a
description; and nothing that a file names is imported or called."""

import enum
import functools
import json
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from problems import MLP, quadratic

import vtune as vt
from vtune.engine.plan import as_arrays, describe
from vtune.results.described import Described
from vtune.results.encoding import decode, encode, is_same
from vtune.results.refiners import decode_refiner, encode_refiner, named_objectives

VALUES = [
    None,
    *(True, 3, 10**30, 0.25, float("inf"), "ünï\0\ud800", 1j, b"\0\xff"),
    *((1, (2, [3])), {"a": {"b": (4,)}}, {1, 2}, frozenset({"x"}), range(1, 9, 2)),
    Path("a/b"),
    *(np.float32(0.1), np.int8(-3), np.bool_(True), np.arange(6.0).reshape(2, 3), np.zeros((0, 2))),
    *(jnp.arange(3), np.dtype("float32"), jnp.dtype("bfloat16"), jnp.float32, np.float32, int),
    *(nn.relu, jax.nn.gelu, jnp.tanh, nn.Dense, optax.adam, optax.contrib.muon, jax.lax.erf),
    *(optax.losses.sigmoid_focal_loss, nn.initializers.he_normal, vt.nn.Dropout),
    *(vt.schedules.cosine, functools.partial(nn.leaky_relu, negative_slope=0.1)),
    *(vt.Float(0.1, 1, log=True), vt.Int(1, 5), vt.Ordinal([1, 2]), vt.Categorical([nn.relu, 1])),
]


def same(a, b):
    if isinstance(a, functools.partial):
        return (a.func, a.args, a.keywords) == (b.func, b.args, b.keywords)
    if isinstance(a, np.ndarray | jax.Array):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


def test_values_come_back():
    for value in VALUES:
        saved = json.loads(json.dumps(encode(value)))
        back = decode(saved, "space['c']")
        assert type(back) is type(value), value
        assert same(value, back), value
        assert is_same(saved, value), value


def test_refiners_come_back():
    """With what makes their programs: the settings, and the types of their numbers."""
    refiners = [
        vt.refine.Keep(),
        vt.PBT(perturbation_interval=3, quantile_fraction=0.4, exploit="binary_tournament"),
        vt.PBT(custom_explore=jax.nn.relu, perturbation_factors=[1.5, 0.7]),
        vt.MFPBT(frequencies=(1, 4), resample_probability=0.1),
        vt.PB2(observations=16, candidates=32),
        vt.NSGA2({"accuracy": "max", "loss": "min"}, eta=5, constraints=jax.nn.relu),
        vt.Halving(reduction_factor=2, min_rounds=3),
        vt.Hyperband(max_rounds=9),
    ]
    for refiner in map(as_arrays, refiners):
        saved = json.loads(json.dumps(encode_refiner(refiner)))
        back = decode_refiner(saved, None, (), True)
        assert type(back) is type(refiner)
        assert describe(back) == describe(refiner)
        assert jax.tree.leaves(back) == jax.tree.leaves(refiner)
    saved = encode_refiner(as_arrays(vt.PBT(custom_explore=of_main)))
    assert isinstance(decode_refiner(saved, None, (), True), Described)
    two = (("accuracy", "max"), ("loss", "min"))
    for own in (len, of_main, lambda metrics: 0):
        saved_own = encode_refiner(as_arrays(vt.NSGA2(two, constraints=own)))
        assert named_objectives(decode_refiner(saved_own, None, (), True)) == two
    assert named_objectives(decode_refiner(saved, None, (), True)) == ()
    again = decode_refiner(saved, vt.PBT(custom_explore=of_main), (), True)
    assert again.custom_explore is of_main
    for wrong in ({"kind": "refiner", "name": "Sweep", "fields": {}}, {"kind": "refiner"}):
        with pytest.raises(ValueError, match="refiner="):
            decode_refiner(wrong, None, (), True)


class Choice(enum.Enum):
    A = 1


class Odd:
    def __repr__(self):
        raise RuntimeError("no")


def of_main(x):
    return x


of_main.__module__ = "__main__"


def test_others_are_described():
    others = [lambda x: x, of_main, nn.initializers.he_normal(), MLP(3), Choice.A, Odd()]
    others += [np.ones(20_000), np.array(["a", "b"]), functools.partial(of_main, 2)]
    for value in others:
        saved = json.loads(json.dumps(encode(value)))
        back = decode((saved), "space['c']")
        assert isinstance(back, Described), value
        assert " at 0x" not in repr(back)
        with pytest.raises(ValueError, match=r"space\['c'\] is not there.*choices="):
            back(1)
        assert is_same(saved, value)


class Plain:
    """Shown without what it holds."""

    def __init__(self, value):
        self.value = value

    @functools.cached_property
    def twice(self):
        return 2 * self.value


def calls(act, *, more=None):
    return lambda x: act(x) if more is None else more


def itself():
    def again(x):
        return again(x - 1) if x else 0

    return again


def elided(place):
    return np.where(np.arange(20_000) == place, 1.0, 0.0)


LIKE = {  # makes of a value that is the same each time, and then of another
    "code": (lambda: lambda x: x, lambda: lambda x: -x),
    "partial": (lambda: functools.partial(of_main, 2), lambda: functools.partial(of_main, 3)),
    "partial of": (lambda: functools.partial(calls(min)), lambda: functools.partial(calls(max))),
    "objects": (lambda: Plain(1), lambda: Plain(2)),
    "types": (lambda: Plain(1), lambda: Plain(True)),
    "inside": (lambda: Plain([Plain((1, 2))]), lambda: Plain([Plain((1, 3))])),
    "a dict": (lambda: {"a": Plain(1)}, lambda: {"a": Plain(2)}),
    "a set": (lambda: {Plain(1), Plain(2)}, lambda: {Plain(1), Plain(3)}),
    "closures": (lambda: calls(lambda x: x), lambda: calls(lambda x: x + 1)),
    "defaults": (lambda: lambda x, k=(1, 2): x, lambda: lambda x, k=(1, 3): x),
    "keyword defaults": (lambda: lambda *, k="a b": k, lambda: lambda *, k="a  b": k),
    "jitted": (lambda: jax.jit(lambda x: x), lambda: jax.jit(lambda x: x + 1)),
    "library": (lambda: optax.adam(1e-3), lambda: optax.adam(1e-2)),
    "itself": (itself, lambda: calls(itself())),
    "arrays": (lambda: elided(5_000), lambda: elided(6_000)),
    "held arrays": (lambda: calls(jnp.arange(9)), lambda: calls(jnp.arange(9) + 1)),
    "NaN": (lambda: [np.array([np.nan, 1])], lambda: [np.array([1, np.nan])]),
    "numbers": (lambda: [1, 2], lambda: [1.0, 2]),
    "modules": (lambda: MLP(3), lambda: MLP(4)),
    "keys": (lambda: Plain(jax.random.key(0)), lambda: Plain(jax.random.key(1))),
    "names": (lambda: calls(nn.relu), lambda: calls(nn.gelu)),
}


@pytest.mark.parametrize("kind", LIKE)
def test_only_values_that_hold_the_same_are_the_same(kind):
    make, other = LIKE[kind]
    saved = json.loads(json.dumps(encode(make())))
    assert is_same(saved, make())
    assert not is_same(saved, other())


def test_what_is_cached_does_not_count():
    value = Plain(1)
    saved = encode(value)
    assert value.twice == 2
    assert is_same(saved, value)


def test_the_order_of_sets_does_not_count():
    """It differs between processes; in one it is that of equal hashes."""
    one, other = [0, 8], [8, 0]
    assert list(set(one)) != list(set(other))
    for kind in (
        set,
        frozenset,
        lambda v: Plain(set(v)),
        lambda v: eval(f"lambda x: x in {set(v)}"),
    ):
        assert encode(kind(one)).get("items") == encode(kind(other)).get("items")
        assert is_same(encode(kind(one)), kind(other))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "exec"),
        ("builtins", "open"),
        ("optax", "os.system"),
        ("jax.numpy", "save"),
        ("jax.numpy", "np"),
        ("numpy", "load"),
        ("flax.io", "rmtree"),
        ("jax._src.api", "clear_caches"),
        ("trap", "act"),
        ("vtune.results.sweep", "Sweep.save"),
        ("__main__", "f"),
        (3, None),
    ],
)
def test_nothing_that_a_file_names_is_imported_or_called(module, name, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    found = decode({"kind": "import", "module": module, "name": name}, "space['act']")
    assert isinstance(found, Described)
    assert "trap" not in sys.modules


def test_trusted_modules_are_looked_into_but_not_through(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import os\nfrom os import system\ndef act(x): return x\nclass A:\n  def b(x): return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    of = lambda name, trusted: decode(
        {"kind": "import", "module": "mine", "name": name}, "space['act']", trusted
    )
    assert isinstance(of("act", ["min"]), Described)
    assert "mine" not in sys.modules
    act = of("act", ["mine"])
    assert (act(3), of("A.b", ["mine"])(4)) == (3, 4)
    assert is_same(encode(act), act)
    for name in ("os.system", "system", "gone"):
        assert "mine has no" in of(name, ["mine"]).reason
    assert (
        "cannot be imported"
        in decode(
            {"kind": "import", "module": "absent", "name": "f"}, "space['act']", ["absent"]
        ).reason
    )
    del sys.modules["mine"]


def double(x):
    return 2 * x


double.__module__ = "__main__"
half = lambda x: x / 2
ACTS = [half, double]


def learner():
    return vt.Learner(
        init=lambda key, h, batch: jnp.ones(()),
        step=lambda key, h, x, batch: (x - h["a\0"] * h["act"](x), {}),
        measure=lambda key, h, x, batch, weight: x**2 / 2,
        score=lambda total: {"loss": total, "a.npy": total, "a": total},
        predict=lambda h, x, batch: x * (1 if batch is None else batch["x"]),
        load=lambda h, x, given: given["x"].astype(float) + given["four"].astype(float),
    )


GIVEN = {
    "x": np.array(2.5, ml_dtypes.bfloat16),
    "four": np.array(3, ml_dtypes.int4),
    "eight": np.ones((2, 2), ml_dtypes.float8_e4m3fn),
}


@pytest.fixture(scope="module")
def sweep():
    """Two functions that no file can name, odd names, and given weights of odd types."""
    space = {"a\0": vt.Float(0.1, 0.2), "act": vt.Categorical(ACTS)}
    return vt.tune(learner(), space, search=vt.Random(4), steps=2, rounds=2, init_from=GIVEN)


@pytest.fixture(scope="module")
def run(sweep, tmp_path_factory):
    sweep.save(tmp_path_factory.mktemp("saved") / "run")
    return tmp_path_factory.getbasetemp() / "saved0" / "run"


def test_a_sweep_with_choices_without_names_comes_back_with_them(sweep, run):
    back = vt.load(run, learner(), choices={"act": ACTS})
    np.testing.assert_array_equal(back.scores, sweep.scores)
    assert [member.hparams for member in back] == [member.hparams for member in sweep]
    assert back.predict([2.0]) == sweep.predict([2.0])
    for name, leaf in back.trained.weights.items():
        assert leaf.dtype == GIVEN[name].dtype
        np.testing.assert_array_equal(leaf, GIVEN[name])
    assert float(back.rerun(1).state) == float(sweep[1].state)
    longer = vt.extend(back, steps=1)
    np.testing.assert_array_equal(longer.scores, vt.extend(sweep, steps=1).scores)


def test_without_its_choices_a_sweep_has_table_and_history(sweep, run):
    bare = [vt.load(run, learner()), vt.read(run)]
    for back in bare:
        assert list(back.history) == list(sweep.history) == ["a", "a.npy", "loss"]
        for name, values in sweep.history.items():
            np.testing.assert_array_equal(back.history[name], values)
        shown, table = back.table(), sweep.table()
        assert shown["act"].map(str).tolist() == ["<function <lambda>>", "<function double>"] * 2
        assert shown.drop(columns="act").equals(table.drop(columns="act"))
        assert back.best.index == sweep.best.index
        assert back.best.hparams["a\0"] == sweep.best.hparams["a\0"]
        assert [member.status for member in back] == ["completed"] * 4
        assert "act" in back.schedule(0)
    needs = r"space\['act'\] is not there: .*<function <lambda>>; write .*choices=\{\.\.\.\}"
    alone = r"vt.read reads the results .*vt.load\(path, learner\)"
    for back, says in zip(bare, (needs, alone), strict=True):
        for use in (
            lambda s: s.predict([1.0]),
            lambda s: s[0].variables,
            lambda s: s[0].state,
            lambda s: s.rerun(0),
            lambda s: vt.extend(s, steps=1),
            lambda s: s.save(run, overwrite=True),
            lambda s: s.ensemble(2, data=vt.holdout({"x": np.ones(4)})),
        ):
            with pytest.raises(ValueError, match=says):
                use(back)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        (
            {"act": ACTS[::-1]},
            r"choices\['act'\] gives <function double.*trained with <function <la",
        ),
        ({"act": [lambda x: x / 3, double]}, r"choices\['act'\] gives <function"),
        ({"act": [half]}, "has 1 values, the file has 2: .*give all of them, in this order"),
        ({"act": half}, "must be the list of all choices"),
        ({"axt": ACTS}, r"choices has 'axt'; the space has \['a\\x00', 'act'\]"),
        ({"a\0": ACTS}, "which is a vt.Float; leave it out"),
        (ACTS, "must be a dict"),
    ],
)
def test_other_choices_are_named(run, choices, says):
    with pytest.raises((TypeError, ValueError), match=says):
        vt.load(run, learner(), choices=choices)


def test_a_moved_function_is_the_same_by_check_false(run):
    vt.load(run, learner(), choices={"act": [lambda x: 0.5 * x, double]}, check=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, r"must be the vt.Learner that was trained, .* got NoneType; .*vt.read\(path\)"),
        (jnp, "got module"),
        (vt.Learner, "got type"),
    ],
)
def test_no_learner_is_named(run, given, says):
    with pytest.raises(TypeError, match=says):
        vt.load(run, given)
    with pytest.raises(TypeError, match="trusted='mine' must be names of modules"):
        vt.load(run, quadratic(), trusted="mine")
