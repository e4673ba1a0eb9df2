"""What an estimator trains, in vtune's words, and the one learner that runs them all.

A spec is everything about an estimator that sets shapes or the program: it is a structural value of
the space, so that settings which differ in numbers alone are one cohort. Since the learner is
always the same object, a second fit with equal specs and shapes compiles nothing.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

import vtune as vt
from vtune.engine.stepping import quotient
from vtune.hparams import Hparams
from vtune.learner.assemble import NetState
from vtune.learner.protocol import Learner
from vtune.types import Array, Batch, Key, PyTree
from vtune.xla.ops.rewrite import rewrite_once

OUTPUTS = "outputs"  # what the models' outputs are called in the history


class Spec(Protocol):
    """Hashable and compared by value.

    Attributes:
      learner: of one training; its `judge` gives totals whose "loss" is (sum, count).
      whole: whether a step takes all training rows at once; rows of weight 0 may then be among
        them, which make folds of unlike sizes alike.
      double: whether it is trained in float64.
    """

    @property
    def learner(self) -> Learner: ...
    @property
    def whole(self) -> bool: ...
    @property
    def double(self) -> bool: ...


class Setting(NamedTuple):
    """One estimator with its parameters, ready for the program.

    Attributes:
      spec: the structural part. numbers: the traced part, by name.
      epochs, batch_size: None for a spec that takes all rows at once. seed: of weights and rows.
    """

    spec: Any
    numbers: dict[str, float]
    epochs: int
    batch_size: int | None
    seed: int


class Tracked(NamedTuple):
    """A network's state and what it has come through: steps, and the mean loss of each epoch."""

    own: PyTree
    steps: Array
    losses: Array


def _init(key: Key, h: Hparams, batch: Batch) -> PyTree:
    return h["spec"].learner.init(key, h, batch)


def _step(key: Key, h: Hparams, state: PyTree, batch: Batch) -> Any:
    return h["spec"].learner.step(key, h, state, batch)


def _tracked_init(key: Key, h: Hparams, batch: Batch) -> PyTree:
    state = _init(key, h, batch)
    if h["spec"].whole:
        return state
    return Tracked(state, jnp.zeros((), jnp.int32), jnp.zeros(h["epochs"]))


def _tracked_step(key: Key, h: Hparams, state: PyTree, batch: Batch) -> Any:
    if not isinstance(state, Tracked):
        return _step(key, h, state, batch)
    own, metrics = _step(key, h, state.own, batch)
    a_epoch = h["steps_per_epoch"]
    now = jnp.arange(h["epochs"]) == quotient(state.steps, a_epoch)
    losses = jnp.where(now, state.losses + metrics["loss"] / a_epoch, state.losses)
    return Tracked(own, state.steps + 1, losses.astype(state.losses.dtype)), {}


def own_state(state: PyTree) -> PyTree:
    """What an estimator keeps of it."""
    return state.own if isinstance(state, Tracked) else state


def _predict(h: Hparams, state: PyTree, batch: Batch) -> Array:
    return h["spec"].learner.predict(h, own_state(state), batch)


def _load(h: Hparams, state: PyTree, variables: PyTree) -> PyTree:
    return h["spec"].learner.load(h, state, variables)


def _variables(state: PyTree) -> PyTree:
    own = own_state(state)
    return {"params": own.params, **own.other} if isinstance(own, NetState) else own


@functools.cache
def learner(together: bool) -> Learner:
    """The learner of all specs.

    Args:
      together: for a search: the outputs for the validation rows are recorded, [rows, outputs],
        and networks keep track of the losses of their epochs.
    """

    def measure(key: Key, h: Hparams, state: PyTree, batch: Batch, weight: Array) -> PyTree:
        own = h["spec"].learner
        made = rewrite_once(functools.partial(own.predict, h))(own_state(state), batch)
        if together:  # scores are made of the outputs, on the host
            return {"loss": jnp.zeros(()), OUTPUTS: vt.metrics.PerRow(made)}
        return {"loss": own.judge(h, made, batch, weight)["loss"]}

    def score(totals: PyTree) -> dict[str, Array]:
        if together:
            return {"loss": totals["loss"], OUTPUTS: totals[OUTPUTS].value}
        value, count = totals["loss"]
        # Rows that weigh nothing have no loss; a score must be finite all the same.
        return {"loss": value / jnp.where(count > 0, count, 1)}

    init, step = (_tracked_init, _tracked_step) if together else (_init, _step)
    return Learner(init, step, measure, score, _predict, _variables, load=_load)
