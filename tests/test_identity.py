"""Values as part of a program's identity: a change in place never meets the old program."""

import collections
import dataclasses
import functools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import vtune as vt
from vtune.identity import handed_out, same, snapshot
from vtune.space import parse
from vtune.space.space import Combination


@dataclasses.dataclass
class Config:
    scale: float = 1.0
    act: object = nn.relu


class Plain:
    def __init__(self):
        self.inner = {"scale": 1.0}
        self.itself = self


class Slots:
    __slots__ = ("scale",)

    def __init__(self):
        self.scale = np.ones(2)


class Module(nn.Module):
    table: object = None


READS = {
    "dict": lambda v: v["a"]["scale"],
    "list": lambda v: v[0][0],
    "config": lambda v: v.scale,
    "plain": lambda v: v.inner["scale"],
    "slots": lambda v: v.scale.sum() / 2,
    "array": lambda v: v.sum() / 3,
    "module": lambda v: v.table["scale"],
    "partial": lambda v: v(),
    "choice": lambda v: v["scale"],
}


def scaled(scale=None):
    return scale["scale"]


def fixed():
    """A mutable value of every kind, each worth 1, and a function that makes each worth `scale`."""
    values = {
        "dict": {"a": {"scale": 1.0}},
        "list": ([1.0],),
        "config": Config(),
        "plain": Plain(),
        "slots": Slots(),
        "array": np.ones(3),
        "module": Module(table={"scale": 1.0}),
        "partial": functools.partial(scaled, scale={"scale": 1.0}),
    }
    choices = [{"scale": 1.0}]

    def change(scale):
        values["dict"]["a"]["scale"] = values["list"][0][0] = values["config"].scale = scale
        values["plain"].inner["scale"] = scale
        values["slots"].scale[:] = scale
        values["array"][:] = scale
        values["module"].table["scale"] = scale
        values["partial"].keywords["scale"]["scale"] = scale
        choices[0]["scale"] = scale

    return {**values, "choice": vt.Categorical(choices), "lr": vt.Float(0.1, 0.5)}, change


def test_values_changed_in_place_are_new_values(compilations):
    def measure(key, h, state, batch, weight):
        return {name: jnp.float32(read(h[name])) for name, read in READS.items()}

    def step(key, h, state, batch):
        state = state - h["lr"] * sum(read(h[name]) for name, read in READS.items())
        h["dict"]["a"]["scale"] = -1.0  # what a member's function does to its values stays with it
        return state, {}

    learner = vt.Learner(lambda key, h, batch: jnp.ones(()), step, measure, dict)
    run = lambda space: vt.tune(
        learner, space, steps=1, metric="dict", mode="max", search=vt.Random(2), progress=False
    )
    space, change = fixed()
    told = lambda sweep: {name: read(sweep[0].hparams[name]) for name, read in READS.items()}
    measured = lambda sweep: {name: float(sweep.history[name][0, 0]) for name in READS}
    first = run(space)
    assert told(first) == measured(first) == dict.fromkeys(READS, 1.0)
    change(3.0)
    with compilations() as count:
        second = run(space)
    assert count.count > 0
    assert told(second) == measured(second) == dict.fromkeys(READS, 3.0)
    assert told(first) == dict.fromkeys(READS, 1.0)
    second[0].hparams["dict"]["a"]["scale"] = 7.0  # nor does what a reader of the sweep does
    with compilations() as count:
        anew, change_anew = fixed()
        change_anew(3.0)
        assert measured(run(anew)) == measured(run(space)) == measured(second)
        assert told(run(fixed()[0])) == told(first)
    assert count.count == 0


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        np.float32("nan"),
        jnp.ones(3),
        jax.random.key(0),
        {1, 2},
        frozenset({1, (2.0,)}),
        complex("nan"),
        collections.OrderedDict(a=[1]),
        collections.deque([[1]]),
        types.MappingProxyType({"a": [1]}),
        pd.DataFrame({"a": [1.0, np.nan]}),
        np.array([[1], None], object),
        np.ma.array([1, 2], mask=[0, 1]),
        slice(1),
        jax.sharding.Mesh(np.array(jax.devices()[:1]), ("members",)),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_copies_are_the_same_values(value):
    copy = snapshot("value", value)
    assert same(copy, value)
    assert same(handed_out(copy), value)
    assert not same(copy, [value])


def test_values_that_differ_are_not_the_same():
    pairs = [
        (1, 1.0),
        (True, 1),
        (0.0, -0.0),
        ([1], (1,)),
        (Config(1), Config(True)),
        (Config(0.0), Config(0)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),  # layers may be built in that order
        (np.ones(2), np.ones(2, np.float32)),
        (np.zeros(2), -np.zeros(2)),
        (jnp.ones(2), np.ones(2, np.float32)),
        (functools.partial(max, key=len), functools.partial(max, key=abs)),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
        (nn.relu, nn.tanh),
        ({1, "a"}, {1.0, "a"}),
        (frozenset({(1,)}), frozenset({(True,)})),
        (0j, -0j),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2])),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 999999])),  # what stands for masked
    ]
    for a, b in pairs:
        assert not same(a, b), (a, b)
        assert same(a, a)


def test_what_never_changes_is_kept():
    for value in (
        None,
        1,
        "a",
        nn.relu,
        jax.jit(abs),
        nn.Dense,
        nn.Dense(3),
        (1, nn.relu),
        object(),
    ):
        assert snapshot("value", value) is value
        assert handed_out(value) is value


def test_arrays_in_the_memory_of_others_are_copied():
    held = np.zeros(64 + 16, np.float32)
    start = -held.ctypes.data % 64 // 4
    mine = held[start : start + 64]
    for value in (mine, jnp.asarray(mine), {"a": mine}, Config(mine)):
        copy = snapshot("value", value)
        mine[:] = 1
        now = copy["a"] if isinstance(copy, dict) else getattr(copy, "scale", copy)
        assert not np.asarray(now).any()
        mine[:] = 0


def test_what_cannot_be_copied_is_named():
    with open("/dev/null") as file:
        for value in (file, {"a": [file]}, vt.Categorical([file, 1])):
            says = r"space\['log'\]: a TextIOWrapper cannot be copied .*; give a name or numbers"
            with pytest.raises(TypeError, match=says):
                parse({"log": value, "lr": vt.Float(0, 1)})


def test_combinations_of_an_equal_space_are_equal():
    a, b = (parse({"lr": vt.Float(0, 1), "c": {"a": [1]}}).combinations[0] for _ in range(2))
    assert isinstance(a, Combination)
    assert same(a, b)


def test_parameters_of_an_estimator_are_copied():
    from vtune.sklearn import FlaxClassifier

    config = {"width": 4}
    estimator = FlaxClassifier(module=Module, module__table=config)
    spec = lambda: estimator._setting(2).spec
    first = spec()
    assert first == spec()
    config["width"] = 16
    assert first != spec()
    assert first.make_module({}).table["width"] == 4
    assert spec().make_module({}).table["width"] == 16
