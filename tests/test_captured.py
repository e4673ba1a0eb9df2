"""What functions read from outside: where it changes, the next sweep has another program."""

import functools
import types

import flax.linen as nn
import jax
import numpy as np
import pytest
from problems import quadratic

import vtune as vt
from vtune.learner.captured import captured

SCALE, PAIR, LAYERS, CONFIG = 1.0, (1, 2), [8, 8], {"rate": 0.1, "inner": {"act": nn.relu}}
SETTINGS, ARRAY = types.SimpleNamespace(rate=0.1, unread=0), np.ones(3)
LOG, COUNTS, CALLS = [], {"traced": 0}, 0


def scaled(x):
    return x * SCALE


class Net(nn.Module):
    width: int = 4
    rate = 0.5

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x) * self.rate * scaled(1) * CONFIG["rate"]


class Trainer:
    def __init__(self):
        self.rate, self.unread, self.calls = 0.1, 0, 0

    def loss(self, outputs):
        self.calls += 1
        return self.penalised(outputs)

    def penalised(self, outputs):
        return outputs * self.rate


TRAINER = Trainer()


def logging(x):
    """Notes its calls in all ways, which are none of what it reads."""
    global CALLS
    CALLS += 1
    COUNTS["traced"] += 1
    LOG.append(x)
    return x * PAIR[0]


def closing(value):
    return lambda: value


OUTSIDE = {
    "a global": (lambda x: x * SCALE, "SCALE", 2.0),
    "a global of a function that it calls": (lambda x: scaled(x), "SCALE", 2.0),
    "a global of a function inside": (lambda x: (lambda: SCALE)(), "SCALE", 2.0),
    "a global's type": (lambda x: x * SCALE, "SCALE", 1),
    "a tuple": (lambda x: PAIR, "PAIR", (1, 3)),
    "a list": (lambda x: LAYERS, "LAYERS", [8, 16]),
    "a dict": (lambda x: CONFIG["rate"], "CONFIG", {**CONFIG, "rate": 0.2}),
    "a dict inside": (lambda x: CONFIG["inner"], "CONFIG", {**CONFIG, "inner": {"act": nn.tanh}}),
    "an array": (lambda x: ARRAY, "ARRAY", np.zeros(3)),
    "an attribute": (lambda x: SETTINGS.rate, "SETTINGS", types.SimpleNamespace(rate=0.2)),
    "a function": (lambda x: scaled(x), "scaled", lambda x: x),
    "a class": (lambda x: Net(), "Net", type("Net", (nn.Module,), {})),
    "what a class reads": (lambda x: Net(), "SCALE", 2.0),
    "what a module reads": (Net(), "CONFIG", {"rate": 0.2}),
    "what a jitted function reads": (jax.jit(scaled), "SCALE", 2.0),
    "a partial": (functools.partial(scaled, 1), "SCALE", 2.0),
    "a metric": (vt.metrics.mean(lambda outputs, batch: scaled(outputs)), "SCALE", 2.0),
    "of one that logs": (logging, "PAIR", (3, 4)),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_what_is_read_from_outside_is_seen_to_change(case, monkeypatch):
    function, name, value = OUTSIDE[case]
    before = captured(function)
    assert captured(function) == before
    monkeypatch.setitem(globals(), name, value)
    assert captured(function) != before
    monkeypatch.undo()
    assert captured(function) == before


def trainer():
    made = Trainer()
    return made.loss, lambda: setattr(made, "rate", 9)


def holding(held, change):
    """A function that reads a value of its own, and what changes the value."""
    return (lambda x: held), lambda: change(held)


IN_PLACE = {
    "list": lambda: holding([8, 8], lambda held: held.append(8)),
    "list in a tuple": lambda: holding(([8],), lambda held: held[0].append(8)),
    "dict": lambda: holding({"a": {"rate": 1}}, lambda held: held["a"].update(rate=2)),
    "set": lambda: holding({1}, lambda held: held.add(2)),
    "array": lambda: holding(np.ones(3), lambda held: held.__setitem__(0, 9)),
    "partial": lambda: (lambda held: (functools.partial(max, held), lambda: held.append(8)))([8]),
    "self": trainer,
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_what_changes_in_place_is_seen(case):
    function, change = IN_PLACE[case]()
    before = captured(function)
    assert captured(function) == before
    change()
    assert captured(function) != before


def test_what_a_function_notes_of_its_calls_is_not_what_it_reads():
    made = Trainer()
    before = captured(logging, made.loss)
    logging(1)
    made.loss(1)
    made.unread = SETTINGS.unread = 1
    assert captured(logging, made.loss) == before


def test_what_holds_itself_or_is_large_is_read_once():
    ring = [1]
    ring.append(ring)
    large = np.zeros(10**6)
    function = lambda: (ring, large)
    before = captured(function)
    large[0] = 1  # known by identity
    assert captured(function) == before
    ring.append(2)
    assert captured(function) != before


RATE = 0.5


def test_a_global_that_changes_is_a_new_program(compilations, monkeypatch):
    """In training, scoring and predicting; back again, the old program is found."""
    learner = quadratic()._replace(
        step=lambda key, h, x, batch: (x - h["lr"] * RATE * x, {}),
        measure=lambda key, h, x, batch, weight: x * SCALE,
        predict=lambda h, x, batch: batch["x"] * x * SCALE,
    )
    data = vt.holdout({"x": np.ones((4, 1), np.float32)})
    tune = lambda: vt.tune(learner, {"lr": vt.Ordinal([0.5])}, data, steps=1, batch_size=2)
    shown = lambda sweep: (
        float(sweep.best.score),
        float(sweep.predict(np.ones((1, 1)))[0, 0]),
    )
    first = tune()
    assert shown(first) == (0.75, 0.75)
    for name, value, becomes in (("RATE", 1.0, (0.5, 0.5)), ("SCALE", 2.0, (1.0, 1.0))):
        monkeypatch.setitem(globals(), name, value)
        assert shown(tune()) == becomes
    assert shown(first) == (0.75, 1.5)  # it predicts as the functions are now
    monkeypatch.undo()
    with compilations() as compiled:
        assert shown(tune()) == (0.75, 0.75)
    assert compiled.count == 0


def test_a_global_of_a_refiner_that_changes_is_a_new_program(monkeypatch):
    refiner = vt.PBT(custom_explore=lambda key, h: {"lr": h["lr"] * 0 + RATE / 4})
    tune = lambda: vt.tune(
        LEARNER, {"lr": vt.Float(0, 0.5)}, search=vt.Halton(4), steps=2, rounds=2, refiner=refiner
    )
    explored = lambda: set(tune().settings["lr"][1].tolist())
    assert 0.125 in explored()
    monkeypatch.setitem(globals(), "RATE", 1.0)
    assert 0.25 in explored()


LEARNER = quadratic()
