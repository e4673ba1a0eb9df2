"""Finds members whose training turned non-finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vtune.engine.plan import Plan
from vtune.engine.replicates import each
from vtune.types import Array, PyTree


def _first_death(died: Array) -> Array:
    """[pop] the step that the first of a member's trainings died at, or -1."""
    if died.ndim == 1:
        return died
    none = jnp.iinfo(died.dtype).max
    first = jnp.min(jnp.where(died < 0, none, died), axis=1)
    return jnp.where(first == none, -1, first)


def _all_finite(tree: PyTree) -> Array:
    """Whether every float in a tree is finite; a scalar."""
    return _every(jnp.isfinite, tree)


def _every(healthy: Callable[[Array], Array], tree: PyTree) -> Array:
    floats = [
        leaf
        for leaf in map(jnp.asarray, jax.tree.leaves(tree))
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack([jnp.bool_(True), *(jnp.all(healthy(leaf)) for leaf in floats)]))


def _note_broken(plan: Plan, state: PyTree, died: Array, last: Array) -> Array:
    """A member whose variables are not finite after the round died in its last step at the
    latest. Optimizer states are not looked at: lbfgs starts with an infinity in good health."""
    show = plan.learner.variables

    def look(member: Any) -> Array:
        state, died = member
        if show is not None:
            healthy = jnp.all(each(lambda own: _all_finite(show(own)), plan.replicates)(state))
        else:  # weights and optimizer state cannot be told apart: NaN alone is a sure sign
            healthy = _every(lambda leaf: ~jnp.isnan(leaf), state)
        return jnp.where((died < 0) & ~healthy, last, died)

    return jax.vmap(look)((state, died))
