"""An exponential moving average of the weights, kept beside them by the optimizer.

optimizer=lambda h: optax.chain(optax.adam(h["lr"]), vt.weight_average(h["decay"])),
eval_params=vt.averaged,
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vtune.types import Array, PyTree


class WeightAverage(NamedTuple):
    """Steps taken, and the average so far, not yet corrected for its start at 0."""

    steps: Array
    decay: Array
    average: PyTree


def weight_average(decay: Any) -> optax.GradientTransformation:
    """Keeps average <- decay * average + (1 - decay) * weights after each step (Polyak and Juditsky
    1992). The last link of an Optax chain; training is not changed by it.

    Args:
      decay: 0 to 1, may be traced.

    Raises:
      ValueError: a plain `decay` outside [0, 1).
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
    """The averaged weights, corrected for their start at 0; before the first step the weights
    themselves. Goes into `vt.flax_learner(eval_params=vt.averaged)`.

    Raises:
      ValueError: no `vt.weight_average` is in the optimizer.
    """
    is_average = lambda node: isinstance(node, WeightAverage)
    found = [n for n in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(n)]
    if not found:
        raise ValueError(
            "averaged: the optimizer keeps no average; write "
            "optax.chain(optax.adam(...), vt.weight_average(0.99))"
        )
    own = found[0]
    share = 1 - own.decay ** own.steps.astype(own.decay.dtype)
    started = own.steps > 0
    return jax.tree.map(
        lambda average, now: jnp.where(
            started, average / jnp.where(started, share, 1.0).astype(average.dtype), now
        ),
        own.average,
        params,
    )
