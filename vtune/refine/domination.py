"""Who dominates whom in several scores: fronts, and how crowded a front is (Deb et al. 2002).

Pure functions of scores [pop, objectives], higher is better. A member with a score that is not
finite is behind all others.
"""

from __future__ import annotations

from typing import Any

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
    size = score.shape[0]
    there = alive(score)
    better = _dominates(score, violation) & there[:, None]

    def peel(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, front, left = state
        beaten = jnp.any(better & left[:, None], axis=0)
        now = left & ~beaten
        return number + 1, jnp.where(now, number, front), left & beaten

    start = (jnp.int32(0), jnp.full(size, size, jnp.int32), there)
    return lax.while_loop(lambda state: jnp.any(state[2]), peel, start)[1]


def _dominates(score: Array, violation: Any) -> Array:
    """Returns [pop, pop] whether the first dominates the second."""
    pairs = lambda values: (values[:, None], values[None, :])
    shape = (score.shape[0],) * 2
    as_good, better = jnp.ones(shape, bool), jnp.zeros(shape, bool)
    for column in score.T:
        first, second = pairs(column)
        as_good, better = as_good & (first >= second), better | (first > second)
    if violation is None:
        return as_good & better
    first, second = pairs(violation)
    return (first < second) | ((first == 0) & (second == 0) & as_good & better)


def crowding(
    score: FloatArray[Array, "pop objectives"], front: IntArray[Array, " pop"]
) -> FloatArray[Array, " pop"]:
    """Returns how far each member's neighbours in its front are apart, summed over the objectives.

    In an objective: the difference of the next larger and the next smaller score, over that of the
    front's largest and smallest; infinite at the ends, 0 where all are equal. Members that are not
    alive have 0.
    """
    there = alive(score)
    together = (front[:, None] == front[None, :]) & there[:, None]
    among = lambda reduce, mask, values, none: reduce(
        jnp.where(mask, values[:, None], none), axis=0
    )
    keys: list[Array] = []
    total = jnp.zeros(score.shape[0], score.dtype)
    for values in jnp.where(there[:, None], score, 0).T:
        keys.insert(0, values)
        earlier = _earlier(keys)  # of equal values those that were earlier in the last objective
        below = among(jnp.max, together & earlier, values, -jnp.inf)
        above = among(jnp.min, together & ~earlier & ~_same_slot(values), values, jnp.inf)
        largest = among(jnp.max, together, values, -jnp.inf)
        width = largest - among(jnp.min, together, values, jnp.inf)
        total += jnp.where(width > 0, (above - below) / jnp.where(width > 0, width, 1), 0)
    return jnp.where(there, total, 0)


def places(
    score: FloatArray[Array, "pop objectives"], violation: Any = None
) -> IntArray[Array, " pop"]:
    """Returns the place (int32) of every slot, 0 for the best: by front, then the least crowded.

    Those that are equal in both are ordered by their scores, so that slots do not matter.
    """
    front = fronts(score, violation)
    scores = jnp.where(alive(score)[:, None], score, 0)
    keys = [front, -crowding(score, front), *(-scores.T)]
    return jnp.sum(_earlier(keys), axis=0, dtype=jnp.int32)


def _earlier(keys: list[Array]) -> Array:
    """Returns [pop, pop] whether the first comes before the second in ascending order, by the first
    key in which they differ, else by their slots. Sorting takes XLA longer to compile."""
    slots = jnp.arange(keys[0].shape[0])
    earlier = slots[:, None] < slots[None, :]
    for key in reversed(keys):
        first, second = key[:, None], key[None, :]
        earlier = (first < second) | ((first == second) & earlier)
    return earlier


def _same_slot(values: Array) -> Array:
    return jnp.eye(values.shape[0], dtype=bool)
