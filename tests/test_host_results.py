"""What is asked of a sweep afterwards is the same where its data are on the host."""

import functools

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from problems import LR
from solo import xent

import vtune as vt

ROWS = 90
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, ROWS)
ARRAYS = {
    "x": RNG.normal(size=(ROWS, 5)) + LABELS[:, None] + 1e4,
    "y": LABELS,
    "w": RNG.random(ROWS).astype(np.float32) + 1,
}
ONS = ("device", "host")


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


LEARNER = vt.flax_learner(
    Model(),
    optimizer=lambda h: optax.sgd(h["lr"]),
    loss=lambda out, batch, h: (xent(out, batch, h), batch["w"]),
    metrics={"accuracy": vt.metrics.accuracy},
)


def data_of(kind, on, **changes):
    arrays = ARRAYS | changes
    if kind == "folds":
        return vt.standardize(vt.kfold(arrays, 3, test=0.2, on=on), "x")
    return vt.standardize(vt.holdout(arrays, 0.3, test=0.2, on=on), "x")


def tuned(data):
    asked = {"search": vt.Halton(3), "epochs": 1, "batch_size": 8, "metric": "accuracy"}
    return vt.tune(LEARNER, LR, data, progress=False, **asked)


@functools.cache
def sweeps(kind):
    return tuple(tuned(data_of(kind, on)) for on in ONS)


def check_same(memory, host):
    memory, host = map(np.asarray, (memory, host))
    assert memory.tobytes() == host.tobytes()


@pytest.mark.parametrize("kind", ["one", "folds"])
def test_scores_of_test_rows_and_outputs_are_those_of_memory(kind):
    memory, host = sweeps(kind)
    check_same(memory.history["accuracy"], host.history["accuracy"])
    for name in ("accuracy", "loss"):
        check_same(memory.evaluate()[name], host.evaluate()[name])
    check_same(memory.evaluate()["loss"], host.evaluate(data_of(kind, "device"))["loss"])
    check_same(memory.predict(ARRAYS["x"][:5]), host.predict(ARRAYS["x"][:5]))


@pytest.mark.parametrize("ensemble", ["best", "greedy"])
def test_an_ensemble_is_judged_on_rows_that_are_read(ensemble):
    memory, host = (sweep.ensemble(ensemble, 2) for sweep in sweeps("one"))
    assert memory.score == host.score
    check_same(memory.weights, host.weights)


def test_a_loaded_sweep_goes_on_with_the_same_data_wherever_they_are(tmp_path):
    for sweep, on in zip(sweeps("one"), ONS, strict=True):
        sweep.save(tmp_path / on)
        loaded = vt.load(tmp_path / on, LEARNER)
        for other in ONS:
            member = loaded.rerun(1, data=data_of("one", other))
            jax.tree.map(check_same, sweep[1].variables, member.variables)
            changed = data_of("one", other, y=(LABELS + 1) % 3)
            with pytest.raises(ValueError, match="trained on: 'y' has other values"):
                loaded.rerun(1, data=changed)


BAD = {
    "labels": ({"y": np.where(np.arange(ROWS) == 7, 3, LABELS)}, r"\['y'\] run from 0 to 3"),
    "weights": (
        {"w": np.where(np.arange(ROWS) < 80, 1.0, -1.0)},
        "of the data the weight -1",
    ),
    "none": ({"w": np.zeros(ROWS)}, "loss gives all 45 training rows the weight 0"),
}


@pytest.mark.parametrize("on", ONS)
@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_before_anything_is_compiled(case, on):
    changes, says = BAD[case]
    with pytest.raises(ValueError, match=says):
        tuned(data_of("one", on, **changes))
