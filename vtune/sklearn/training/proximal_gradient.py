"""Penalised linear models, solved to the optimum: one function of JAX, for one training.

Accelerated proximal gradient (Beck and Teboulle 2009) with a step size that grows and shrinks
(Scheinberg, Goldfarb and Bai 2014) and restarts (O'Donoghue and Candès 2015). Features are moved
and scaled inside, which changes the way and not the optimum: penalties are those of the weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.types import Array

GROW, SHRINK = 0.8, 2.0  # of the curvature that is tried next, and after a step that was too long


class Solution(NamedTuple):
    """The weights [features, outputs], the intercepts [outputs], and iterations."""

    coef: Array
    intercept: Array
    n_iter: Array


class _Loop(NamedTuple):
    now: Any
    before: Any
    momentum: Array
    curvature: Array
    n_iter: Array
    left: Array


def log_loss(scores: Array, y: Array) -> Array:
    """[rows] of labels [rows]: logistic with one score, multinomial with more."""
    if scores.shape[1] == 1:
        sign = jnp.where(y > 0, 1.0, -1.0).astype(scores.dtype)
        return jax.nn.softplus(-sign * scores[:, 0])
    own = jnp.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(scores, axis=1) - own


def half_squared(scores: Array, y: Array) -> Array:
    """[rows] of targets [rows, outputs]."""
    return jnp.sum((scores - y) ** 2, axis=1) / 2


def solve(
    loss: Any,
    x: Array,
    y: Array,
    weight: Array,
    l1: Array,
    l2: Array,
    *,
    intercept: bool,
    max_iter: Array,
    tol: Array,
    start: tuple[Array, Array],
) -> Solution:
    """Minimises `sum(weight * loss) + l1 |coef|_1 + l2 / 2 |coef|^2`; intercepts are free.

    Args:
      loss: (scores [rows, outputs], y) -> [rows]. x: [rows, features]. weight: [rows], 0 for a
        row that does not count. start: coef [features, outputs], intercepts [outputs].
      tol: stops where no entry of the gradient is larger than so many times the largest of the
        weights' that the loss has at zero; of features with variance 1. Targets should be of the
        order of 1.
    """
    total = jnp.sum(weight)
    centre = weight @ x / total if intercept else jnp.zeros(x.shape[1], x.dtype)
    reach = jnp.max(jnp.where(weight[:, None] > 0, jnp.abs(x - centre[None]), 0.0), axis=0)
    reach = jnp.where(reach > 0, reach, 1.0)  # squares of large numbers would overflow
    spread = reach * jnp.sqrt(weight @ ((x - centre[None]) / reach[None]) ** 2 / total)
    spread = jnp.where(spread > 0, spread, 1.0)
    z = jnp.where(weight[:, None] > 0, (x - centre[None]) / spread[None], 0.0)
    thin, ridge = l1 / spread[:, None], l2 / spread[:, None] ** 2

    def smooth(point: tuple[Array, Array]) -> Array:
        v, b = point
        return jnp.sum(weight * loss(z @ v + b[None], y)) / total

    def proximal(point: tuple[Array, Array], curvature: Array) -> tuple[Array, Array]:
        v, b = point
        step = 1.0 / (curvature * total)
        v = jnp.sign(v) * jnp.maximum(jnp.abs(v) - step * thin, 0.0) / (1.0 + step * ridge)
        return v, b

    def one(loop: _Loop) -> _Loop:
        now, before = loop.now, loop.before
        momentum = (1.0 + jnp.sqrt(1.0 + 4.0 * loop.momentum**2)) / 2.0
        ahead = jax.tree.map(
            lambda a, b: a + (loop.momentum - 1.0) / momentum * (a - b), now, before
        )
        value, slope = jax.value_and_grad(smooth)(ahead)
        slope = (slope[0], slope[1] if intercept else jnp.zeros_like(slope[1]))

        def try_(curvature: Array) -> tuple[Any, Array]:
            moved = jax.tree.map(lambda a, g: a - g / curvature, ahead, slope)
            after = proximal(moved, curvature)
            gap = jax.tree.map(jnp.subtract, after, ahead)
            bound = value + _dot(slope, gap) + curvature / 2 * _dot(gap, gap)
            slack = 10 * jnp.finfo(x.dtype).eps * jnp.maximum(jnp.abs(value), 1e-3)
            return after, smooth(after) <= bound + slack

        def again(trial: Any) -> Any:
            curvature = trial[0] * SHRINK
            return (curvature, *try_(curvature))

        first = loop.curvature * GROW
        sane = lambda curvature: jnp.isfinite(value) & (curvature < 1e100)
        curvature, after, _ = lax.while_loop(
            lambda t: ~t[2] & sane(t[0]), again, (first, *try_(first))
        )
        gap = jax.tree.map(jnp.subtract, after, ahead)
        left = curvature * jnp.maximum(jnp.max(jnp.abs(gap[0])), jnp.max(jnp.abs(gap[1])))
        turned = _dot(gap, jax.tree.map(jnp.subtract, after, now)) < 0
        momentum = jnp.where(turned, 1.0, momentum)
        return _Loop(after, now, momentum, curvature, loop.n_iter + 1, left)

    coef, free = start
    steepest = jnp.max(jnp.abs(jax.grad(smooth)(jax.tree.map(jnp.zeros_like, start))[0]))
    enough = tol * jnp.maximum(steepest, 1e-6)

    def goes_on(loop: _Loop) -> Array:
        return (loop.n_iter < max_iter) & (loop.left > enough)

    begin = (coef * spread[:, None], free + centre @ coef)
    one_ = jnp.ones((), x.dtype)
    loop = _Loop(begin, begin, one_, one_, jnp.int32(0), jnp.full((), jnp.inf, x.dtype))
    done = lax.while_loop(goes_on, one, loop)
    coef = done.now[0] / spread[:, None]
    return Solution(coef, done.now[1] - centre @ coef, done.n_iter)


def _dot(a: Any, b: Any) -> Array:
    first, *rest = jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), a, b))
    total: Any = sum(rest, start=first)
    return total
