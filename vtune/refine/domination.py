"""Who dominates whom in several scores: fronts, and how crowded a front is (Deb et al. 2002).

Pure functions of scores [pop, objectives], higher is better. A member with a score that is not
finite is behind all others.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.types import Array, FloatArray, IntArray


def alive(score: FloatArray[Array, "pop objectives"]) -> Array:
    """Returns [pop] whether all scores of a member are finite."""
    return jnp.all(jnp.isfinite(score), axis=1)


def fronts(
    score: FloatArray[Array, "pop objectives"], violation: Any = None
) -> IntArray[Array, " pop"]:
    """Returns the number of the front that each member lies in, int32.

    Front 0 are those that no other dominates, front 1 those that only front 0 does, and so on;
    members that are not alive have the number pop.

    Args:
      violation: [pop] how much a member violates constraints, 0 where it does not; None without.
        Who violates less dominates whatever the scores; they count among those that violate
        nothing.
    """
    size, there = score.shape[0], alive(score)
    columns = jnp.where(there[:, None], score, 0).T
    violated = jnp.zeros(size, score.dtype) if violation is None else violation
    order = _sorted(~there, violated, *(-columns))  # whoever dominates comes earlier

    def place(k: Array, front: Array) -> Array:
        slot = order[k]
        as_good, better = score >= score[slot][None], score > score[slot][None]
        beats = jnp.all(as_good, axis=1) & jnp.any(better, axis=1)
        if violation is not None:
            feasible = (violation == 0) & (violation[slot] == 0)
            beats = (violation < violation[slot]) | (feasible & beats)
        return front.at[slot].set(jnp.max(jnp.where(there & beats, front + 1, 0)))

    return lax.fori_loop(0, jnp.sum(there), place, jnp.full(size, size, jnp.int32))


def crowding(
    score: FloatArray[Array, "pop objectives"], front: IntArray[Array, " pop"]
) -> FloatArray[Array, " pop"]:
    """Returns how far each member's neighbours in its front are apart, summed over the objectives.

    In an objective: the difference of the next larger and the next smaller score, over that of the
    front's largest and smallest; infinite at the ends, 0 where all are equal. Members that are not
    alive have 0.
    """
    size, there = score.shape[0], alive(score)
    order, total = jnp.arange(size), jnp.zeros(size, score.dtype)
    for column in jnp.where(there[:, None], score, 0).T:
        order = order[jnp.argsort(column[order], stable=True)]
        by_front = order[jnp.argsort(front[order], stable=True)]
        value, number = column[by_front], front[by_front]
        new = number[1:] != number[:-1]
        below = jnp.full_like(value, -jnp.inf).at[1:].set(jnp.where(new, -jnp.inf, value[:-1]))
        above = jnp.full_like(value, jnp.inf).at[:-1].set(jnp.where(new, jnp.inf, value[1:]))
        smallest = jax.ops.segment_min(value, number, size + 1)[number]
        width = jax.ops.segment_max(value, number, size + 1)[number] - smallest
        apart = jnp.where(width > 0, (above - below) / jnp.where(width > 0, width, 1), 0)
        total = total.at[by_front].add(apart)
    return jnp.where(there, total, 0)


def best_first(
    score: FloatArray[Array, "pop objectives"], violation: Any = None
) -> IntArray[Array, " pop"]:
    """Returns the slots (int32) from best to worst: by front, then the least crowded.

    Those that are equal in both are ordered by their scores, so that slots do not matter.
    """
    front = fronts(score, violation)
    columns = jnp.where(alive(score)[:, None], score, 0).T
    return _sorted(front, -crowding(score, front), *(-columns))


def _sorted(*keys: Array) -> Array:
    """Returns the slots in ascending order by the first key in which they differ."""
    return jnp.lexsort(keys[::-1]).astype(jnp.int32)
