"""Ids and labels out of range are named before anything is compiled, unless a mask keeps them
out."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP
from solo import xent

import vtune as vt
from vtune.runtime.check_ranges import check_ranges
from vtune.xla.lookups import has_entries, lookups

ROWS = 12
TABLE = jnp.ones((5, 2))
IDS = np.arange(ROWS * 2).reshape(ROWS, 2) % 5  # 0 to 4
LABELS = np.arange(ROWS) % 5
ERROR, WARNING, NOTHING = "error", "warning", "nothing"


def cross_entropy(state, batch):
    logits = jnp.ones((len(batch["y"]), 5)) * state.sum()
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def embedded(state, batch):
    return jnp.take(state, batch["ids"], axis=0)


def scanned(state, batch):
    step = lambda carry, ids: (carry + jnp.take(state, ids, axis=0), None)
    return jax.lax.scan(step, jnp.zeros((len(batch["ids"]), 2)), batch["ids"].T)[0]


def by_column(state, batch):
    return jnp.take(state[:1], batch["ids"][:, 0], axis=0) + state[batch["ids"][:, 1]]


def attended(state, batch):
    """Padded places are neither attended to nor averaged."""
    real = batch["ids"] >= 0
    x = state[batch["ids"]]
    scores = jnp.where(real[:, None, :], jnp.einsum("bid,bjd->bij", x, x), -1e9)
    mixed = jnp.einsum("bij,bjd->bid", jax.nn.softmax(scores), x)
    return jnp.sum(mixed * real[..., None], axis=1)


def one_hot(state, batch):
    return jax.nn.one_hot(batch["y"], 5) * state.sum()


def where(loss, mask):
    return lambda state, batch: jnp.where(mask(batch), loss(state, batch), 0.0)


def times(loss, weight):
    return lambda state, batch: weight(batch) * loss(state, batch)


def relabelled(loss, mark):
    def changed(state, batch):
        return loss(state, {**batch, "y": jnp.where(batch["y"] == mark, 0, batch["y"])})

    return changed


def dropped(state, batch):
    """A mask that knows nothing of the data."""
    keep = jax.random.bernoulli(jax.random.key(0), 0.5, (len(batch["ids"]), 2, 1))
    return jnp.where(keep, jnp.take(state, batch["ids"], axis=0), 0.0)


shifted = lambda state, batch: cross_entropy(state, {"y": batch["y"] - 1})
clipped = lambda state, batch: jnp.take(state, jnp.clip(batch["ids"], 0, 4), axis=0)
filled = lambda state, batch: jnp.take(state, batch["ids"], 0, mode="fill", fill_value=0)
rectified = lambda state, batch: jnp.where(state.sum() > 0, embedded(state, batch), 0.0)
picked = lambda state, batch: -jax.nn.log_softmax(state[:, 0])[batch["y"]]
pairs = lambda state, batch: jnp.ones((len(batch["y"]), 5))[jnp.arange(len(batch["y"])), batch["y"]]
gradient = lambda state, batch: jax.grad(lambda s: embedded(s, batch).sum())(state)
real = lambda batch: batch["y"] >= 0
known = lambda batch: batch["y"] != 255

LAST_IS_255 = np.where(LABELS == 4, 255, LABELS)
CASES = {
    "labels in range": (cross_entropy, {"y": LABELS}, NOTHING),
    "labels from 1": (cross_entropy, {"y": LABELS + 1}, ERROR),
    "labels from 1, moved": (shifted, {"y": LABELS + 1}, NOTHING),
    "labels moved for nothing": (shifted, {"y": LABELS}, WARNING),
    "label -1": (cross_entropy, {"y": LABELS - 1}, WARNING),
    "label -1, masked": (where(cross_entropy, real), {"y": LABELS - 1}, NOTHING),
    "label -1, weighed": (times(cross_entropy, real), {"y": LABELS - 1}, NOTHING),
    "label -1, by an entry": (
        times(cross_entropy, lambda batch: batch["w"]),
        {"y": LABELS - 1, "w": 1.0 * (LABELS > 0)},
        NOTHING,
    ),
    "label -9": (cross_entropy, {"y": LABELS - 9}, ERROR),
    "label 255": (cross_entropy, {"y": LAST_IS_255}, ERROR),
    "label 255, masked": (where(cross_entropy, known), {"y": LAST_IS_255}, NOTHING),
    "label 255, NaN times 0": (times(cross_entropy, known), {"y": LAST_IS_255}, ERROR),
    "label 255, replaced": (relabelled(cross_entropy, 255), {"y": LAST_IS_255}, NOTHING),
    "labels as bytes": (cross_entropy, {"y": (LABELS + 1).astype(np.uint8)}, ERROR),
    "labels that index": (picked, {"y": LABELS + 1}, WARNING),
    "labels beside rows": (pairs, {"y": LABELS + 1}, WARNING),
    "classes from 1": (one_hot, {"y": LABELS + 1}, WARNING),
    "a class that is none": (one_hot, {"y": LABELS - 1}, NOTHING),
    "a class that is a mark": (one_hot, {"y": LAST_IS_255}, NOTHING),
    "ids in range": (embedded, {"ids": IDS}, NOTHING),
    "ids": (embedded, {"ids": IDS + 1}, ERROR),
    "ids of a scan": (scanned, {"ids": IDS + 1}, ERROR),
    "ids in a gradient": (gradient, {"ids": IDS + 1}, NOTHING),
    "ids behind dropout": (dropped, {"ids": IDS + 1}, ERROR),
    "ids behind a rule": (rectified, {"ids": IDS + 1}, WARNING),
    "ids, filled": (filled, {"ids": IDS + 1}, NOTHING),
    "ids, clipped": (clipped, {"ids": IDS + 1}, NOTHING),
    "a column": (by_column, {"ids": IDS}, ERROR),
    "a column in range": (by_column, {"ids": IDS * [0, 1]}, NOTHING),
    "ids, masked in attention": (attended, {"ids": IDS - 1}, NOTHING),
}


def outcome(function, entries, data=None):
    """Returns what is said of a member's function of (state, batch)."""
    data = vt.holdout(entries, seed=0) if data is None else data
    batch = {name: jnp.asarray(array[:4]) for name, array in data.arrays.items()}
    found = lookups(jax.make_jaxpr(function)(TABLE, batch), TABLE, batch)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            check_ranges([found], data)
        except ValueError:
            return ERROR
    return WARNING if said else NOTHING


@pytest.mark.parametrize("name", CASES)
def test_numbers_out_of_range(name):
    function, entries, expected = CASES[name]
    assert outcome(function, entries) == expected


def test_rows_of_no_fold_may_hold_anything():
    labels = np.where(np.arange(ROWS) < 6, LABELS % 5, -1)
    data = vt.kfold({"y": labels}, k=[(np.arange(3), np.arange(3, 6))])
    assert outcome(cross_entropy, None, data) == NOTHING


def test_real_numbers_cost_nothing():
    assert not has_entries({"x": np.zeros(3), "mask": np.zeros(3, bool)})


class Embedded(nn.Module):
    @nn.compact
    def __call__(self, ids):
        return nn.Dense(3)(nn.Embed(5, 2)(ids).mean(axis=1))


def learner(model, **parts):
    return vt.flax_learner(model, optimizer=lambda h: optax.sgd(h["lr"]), **parts)


X = np.zeros((ROWS, 6), np.float32)
MESSAGES = [
    (
        learner(MLP(), loss=xent),
        {"x": X, "y": LABELS % 3 + 1},
        r"batch\['y'\] runs from 1 to 3 and indexes an axis of length 3, in an array \[\d+, 3\], "
        r"which takes 0 to 2: JAX returns NaN .* Let there be 4 \(.*\), or count from 0, "
        r"batch\['y'\] - 1. If 3 marks places to leave out, .* let loss return \(values, "
        r"batch\['y'\] != 3\), and give metrics ignore=3",
    ),
    (
        learner(MLP(), batch_loss=lambda o, b, h: xent(o, b, h).mean()),
        {"x": X, "y": LABELS % 3 + 2},
        r"batch\['y'\] runs from 2 to 4",
    ),
    (
        learner(Embedded(), loss=xent),
        {"ids": IDS + 3, "y": LABELS % 3},
        r"batch\['ids'\] runs from 3 to 7 and indexes an axis of length 5, in an array \[5, 2\]",
    ),
]


@pytest.mark.parametrize(("learner", "entries", "says"), MESSAGES)
def test_tune_names_the_entry_before_it_compiles(learner, entries, says, compilations):
    with compilations() as made, pytest.raises(ValueError, match=says):
        vt.tune(learner, LR, vt.holdout(entries, seed=0), epochs=1, batch_size=4)
    assert made.count == 0
