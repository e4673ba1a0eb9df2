"""Estimators in vtune's terms: a spec, its numbers, and one learner that trains every spec.

A spec is everything about an estimator that sets shapes or the program. It is a structural value of
the space, so settings that differ only in numbers are one cohort. The learner is always the same
object, so a second fit with equal specs and shapes compiles nothing.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

import vtune as vt
from vtune.engine.stepping import quotient
from vtune.hparams import Hparams
from vtune.learner.net import NetState
from vtune.learner.protocol import Learner
from vtune.types import Array, Batch, Key, PyTree
from vtune.xla.ops.rewrite import rewrite_once

OUTPUTS = "outputs"  # the metric under which the history holds the models' outputs


class Spec(Protocol):
    """The structural part of an estimator; hashable, compared by value.

    Attributes:
      learner: trains one such model; its `judge` returns totals whose "loss" is (sum, count).
      full_batch: whether a step takes all training rows at once. Rows of weight 0 may then pad
        folds to one size.
      float64: whether the model is trained in float64.
    """

    @property
    def learner(self) -> Learner: ...
    @property
    def full_batch(self) -> bool: ...
    @property
    def float64(self) -> bool: ...


class Setting(NamedTuple):
    """The parameters of one estimator, as the program takes them.

    Attributes:
      spec: the structural part. numbers: the traced part, by name.
      epochs: how many. batch_size: None for a full-batch spec. seed: for weights and row order.
    """

    spec: Spec
    numbers: dict[str, float]
    epochs: int
    batch_size: int | None
    seed: int


class Tracked(NamedTuple):
    """A network's state with its training so far: steps, and the mean loss of every epoch."""

    state: PyTree
    steps: Array
    losses: Array


def _init(key: Key, h: Hparams, batch: Batch) -> PyTree:
    return h["spec"].learner.init(key, h, batch)


def _step(key: Key, h: Hparams, state: PyTree, batch: Batch) -> Any:
    return h["spec"].learner.step(key, h, state, batch)


def _tracked_init(key: Key, h: Hparams, batch: Batch) -> PyTree:
    state = _init(key, h, batch)
    if h["spec"].full_batch:
        return state
    return Tracked(state, jnp.zeros((), jnp.int32), jnp.zeros(h["epochs"]))


def _tracked_step(key: Key, h: Hparams, state: PyTree, batch: Batch) -> Any:
    if not isinstance(state, Tracked):
        return _step(key, h, state, batch)
    after, metrics = _step(key, h, state.state, batch)
    steps_per_epoch = h["steps_per_epoch"]
    now = jnp.arange(h["epochs"]) == quotient(state.steps, steps_per_epoch)
    losses = jnp.where(now, state.losses + metrics["loss"] / steps_per_epoch, state.losses)
    return Tracked(after, state.steps + 1, losses.astype(state.losses.dtype)), {}


def untracked(state: PyTree) -> PyTree:
    """Returns the state of the spec's learner, which an estimator keeps."""
    return state.state if isinstance(state, Tracked) else state


def _predict(h: Hparams, state: PyTree, batch: Batch) -> Array:
    return h["spec"].learner.predict(h, untracked(state), batch)


def _load(h: Hparams, state: PyTree, variables: PyTree) -> PyTree:
    return h["spec"].learner.load(h, state, variables)


def _variables(state: PyTree) -> PyTree:
    state = untracked(state)
    return {"params": state.params, **state.other} if isinstance(state, NetState) else state


@functools.cache
def learner(search: bool) -> Learner:
    """Returns the learner that trains every spec.

    Args:
      search: whether it trains the candidates of a search. If so, the outputs for the validation
        rows are recorded, [rows, outputs], and networks keep the losses of their epochs.
    """

    def measure(key: Key, h: Hparams, state: PyTree, batch: Batch, weight: Array) -> PyTree:
        model = h["spec"].learner
        outputs = rewrite_once(functools.partial(model.predict, h))(untracked(state), batch)
        if search:  # scikit-learn's scorers take the outputs, on the host
            return {"loss": jnp.zeros(()), OUTPUTS: vt.metrics.PerRow(outputs)}
        return {"loss": model.judge(h, outputs, batch, weight)["loss"]}

    def score(totals: PyTree) -> dict[str, Array]:
        if search:
            return {"loss": totals["loss"], OUTPUTS: totals[OUTPUTS].value}
        value, count = totals["loss"]
        # Rows of weight 0 have no loss, but the score must be finite.
        return {"loss": value / jnp.where(count > 0, count, 1)}

    init, step = (_tracked_init, _tracked_step) if search else (_init, _step)
    return Learner(init, step, measure, score, _predict, _variables, load=_load)
