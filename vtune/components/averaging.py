"""An exponential moving average of the weights, kept in the optimizer's state.

    optimizer=lambda h: optax.chain(optax.adam(h["lr"]), vt.weight_average(h["decay"])),
    eval_params=vt.averaged,

Optax's `incremental_update` sums in another order and gives other bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vtune.types import Array, PyTree


class WeightAverage(NamedTuple):
    """The state of `weight_average`.

    Attributes:
      steps: number of steps taken, a scalar.
      decay: of the average, a scalar.
      average: of the weights, in float32 or wider, not corrected for its start at 0.
    """

    steps: Array
    decay: Array
    average: PyTree


def weight_average(decay: Any) -> optax.GradientTransformation:
    """Returns an Optax transformation that averages the weights over the steps.

    After each step, average <- decay * average + (1 - decay) * weights (Polyak and Juditsky 1992).
    It goes last in an `optax.chain` and does not change the training.

    Args:
      decay: in [0, 1), may be traced.

    Raises:
      ValueError: a plain number `decay` is outside [0, 1).
    """
    if isinstance(decay, int | float) and not 0 <= decay < 1:
        raise ValueError(f"weight_average: decay={decay!r} must be 0 or more and below 1")

    def init(params: PyTree) -> WeightAverage:
        wide = lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32))
        zeros = jax.tree.map(wide, params)
        return WeightAverage(jnp.zeros((), jnp.int32), jnp.asarray(decay, float), zeros)

    def update(updates: PyTree, state: WeightAverage, params: PyTree = None) -> Any:
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(
            lambda old, now: (decay * old + (1 - decay) * now.astype(old.dtype)).astype(old.dtype),
            state.average,
            new,
        )
        return updates, WeightAverage(state.steps + 1, jnp.asarray(decay, float), average)

    return optax.GradientTransformation(init, update)


def averaged(opt_state: PyTree, params: PyTree) -> PyTree:
    """Returns the averaged weights, corrected for their start at 0.

    Before the first step it returns the weights themselves. Use it as
    `vt.flax_learner(eval_params=vt.averaged)`.

    Args:
      opt_state: the state of an optimizer with a `vt.weight_average`; the first one is taken.
      params: the weights.

    Raises:
      ValueError: there is no `vt.weight_average` in the optimizer.
    """
    is_average = lambda node: isinstance(node, WeightAverage)
    states = [n for n in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(n)]
    if not states:
        raise ValueError(
            "averaged: the optimizer keeps no average; write "
            "optax.chain(optax.adam(...), vt.weight_average(0.99))"
        )
    state = states[0]
    share = 1 - state.decay ** state.steps.astype(state.decay.dtype)
    started = state.steps > 0
    return jax.tree.map(
        lambda average, now: jnp.where(
            started, average / jnp.where(started, share, 1.0).astype(average.dtype), now
        ),
        state.average,
        params,
    )
