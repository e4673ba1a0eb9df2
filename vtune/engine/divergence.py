"""Divergence: members whose training turned non-finite.

A training diverges at the first step whose metrics are not finite, or whose round ends with
variables or a score that are not. `Population.died` holds that step. Such a member trains on, since
all members take the same steps, but its scores are -inf and its metrics NaN from then on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vtune.engine.plan import Plan
from vtune.engine.replicates import Replicates, per_replicate, replicate_shape
from vtune.types import Array, PyTree


def note_divergence(died: Array, healthy: Array, step: Any) -> Array:
    """Returns the steps of divergence, with `step` for trainings that are first seen unhealthy."""
    return jnp.where((died < 0) & ~healthy, step, died)


def died_by_replicate(died: Array, replicates: Replicates | None) -> Array:
    """Returns each member's step of divergence for all its replicates, [pop, replicates]."""
    shape = replicate_shape(replicates)
    return jnp.repeat(died[:, None], shape[0], axis=1) if shape else died


def first_died(died: Array) -> Array:
    """Returns the step that the first of a member's replicates diverged at or -1, [pop]."""
    if died.ndim == 1:
        return died
    none = jnp.iinfo(died.dtype).max
    first = jnp.min(jnp.where(died < 0, none, died), axis=1)
    return jnp.where(first == none, -1, first)


def all_finite(tree: PyTree) -> Array:
    """Returns whether every float in a tree is finite; a scalar."""
    return _all_floats(jnp.isfinite, tree)


def note_broken_states(plan: Plan, state: PyTree, died: Array, last: Array) -> Array:
    """Returns the steps of divergence [pop], with step `last` of the round for members whose
    variables are not finite after it.

    Optimizer states are not looked at: that of L-BFGS starts with an infinity in good health.
    """
    variables = plan.learner.variables

    def note(member: Any) -> Array:
        state, died = member
        if variables is not None:
            finite = per_replicate(lambda state: all_finite(variables(state)), plan.replicates)
            healthy = jnp.all(finite(state))
        else:  # weights and optimizer state cannot be told apart: only NaN is a sure sign
            healthy = _all_floats(lambda leaf: ~jnp.isnan(leaf), state)
        return note_divergence(died, healthy, last)

    return jax.vmap(note)((state, died))


def note_broken_scores(plan: Plan, score: Array, died: Array, last: Array) -> Array:
    """Returns the steps of divergence [pop], with step `last` of the round for members whose score
    is not finite, where nothing else shows that their state is not."""
    if plan.learner.variables is not None:
        return died
    return note_divergence(died, jnp.isfinite(score), last)


def _all_floats(healthy: Callable[[Array], Array], tree: PyTree) -> Array:
    floats = [
        leaf
        for leaf in map(jnp.asarray, jax.tree.leaves(tree))
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    # One after the other, which XLA fuses with what reads it; a stack is a kernel of its own.
    return functools.reduce(
        jnp.logical_and, [jnp.all(healthy(leaf)) for leaf in floats], jnp.bool_(True)
    )
