"""Solves penalised linear models to the optimum, as one JAX function of one training.

Accelerated proximal gradient (Beck and Teboulle 2009) with a step size that grows and shrinks
(Scheinberg, Goldfarb and Bai 2014) and restarts (O'Donoghue and Candès 2015). Features are centred
and scaled inside, which changes the path and not the optimum: penalties are those of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.types import Array

# Factors of the curvature: for the first try of an iteration, and after a step that was too long.
GROW, SHRINK = 0.8, 2.0
Point = tuple[Array, Array]  # weights [features, outputs], intercepts [outputs]


class Problem(NamedTuple):
    """Minimise `sum(weight * loss) + l1 |coef|_1 + l2 / 2 |coef|^2`; intercepts are not penalised.

    Attributes:
      loss: (scores [rows, outputs], y) -> [rows].
      x: [rows, features]. y: targets, of the order of 1. weight: [rows], 0 for padding.
      l1, l2: the strengths of the penalties. intercept: whether there are intercepts.
    """

    loss: Callable[[Array, Array], Array]
    x: Array
    y: Array
    weight: Array
    l1: Array
    l2: Array
    intercept: bool


class Solution(NamedTuple):
    """The weights [features, outputs], the intercepts [outputs], the number of iterations."""

    coef: Array
    intercept: Array
    n_iter: Array


def log_loss(scores: Array, y: Array) -> Array:
    """Returns [rows] the log loss of labels [rows]: logistic for one score, else multinomial."""
    if scores.shape[1] == 1:
        sign = jnp.where(y > 0, 1.0, -1.0).astype(scores.dtype)
        return jax.nn.softplus(-sign * scores[:, 0])
    of_label = jnp.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(scores, axis=1) - of_label


def half_squared(scores: Array, y: Array) -> Array:
    """Returns [rows] half the squared error of targets [rows, outputs]."""
    return jnp.sum((scores - y) ** 2, axis=1) / 2


def solve(problem: Problem, start: Point, *, max_iter: Array, tol: Array) -> Solution:
    """Returns the optimum of a problem.

    Args:
      start: the weights and intercepts to start from.
      tol: stops when no entry of the gradient is larger than `tol` times the largest entry that
        the gradient by the weights has at zero, for features with variance 1.
    """
    objective, centre, spread = _standardized(problem)
    steepest = jnp.max(jnp.abs(jax.grad(objective.smooth)(jax.tree.map(jnp.zeros_like, start))[0]))
    enough = tol * jnp.maximum(steepest, 1e-6)

    def goes_on(loop: _Loop) -> Array:
        return (loop.n_iter < max_iter) & (loop.gradient > enough)

    coef, intercept = start
    point = (coef * spread[:, None], intercept + centre @ coef)
    one = jnp.ones((), problem.x.dtype)
    begin = _Loop(point, point, one, one, jnp.int32(0), jnp.full((), jnp.inf, problem.x.dtype))
    done = lax.while_loop(goes_on, lambda loop: _iterate(objective, loop), begin)
    coef = done.now[0] / spread[:, None]
    return Solution(coef, done.now[1] - centre @ coef, done.n_iter)


class _Objective(NamedTuple):
    """The mean loss for standardized features, and the penalties that these features have.

    Attributes:
      z: [rows, features] standardized. total: the sum of the weights.
      l1, l2: [features, 1] the strengths of the penalties of each standardized feature.
    """

    problem: Problem
    z: Array
    total: Array
    l1: Array
    l2: Array

    def smooth(self, point: Point) -> Array:
        """Returns the mean loss."""
        coef, intercept = point
        scores = self.z @ coef + intercept[None]
        return jnp.sum(self.problem.weight * self.problem.loss(scores, self.problem.y)) / self.total

    def proximal(self, point: Point, curvature: Array) -> Point:
        """Returns the proximal operator of the penalties, for a step of 1 / curvature."""
        coef, intercept = point
        step = 1.0 / (curvature * self.total)
        shrunk = jnp.sign(coef) * jnp.maximum(jnp.abs(coef) - step * self.l1, 0.0)
        return shrunk / (1.0 + step * self.l2), intercept


def _standardized(problem: Problem) -> tuple[_Objective, Array, Array]:
    """Returns the objective for features with mean 0 and variance 1, their means and spreads."""
    x, weight = problem.x, problem.weight
    total = jnp.sum(weight)
    centre = weight @ x / total if problem.intercept else jnp.zeros(x.shape[1], x.dtype)
    largest = jnp.max(jnp.where(weight[:, None] > 0, jnp.abs(x - centre[None]), 0.0), axis=0)
    largest = jnp.where(largest > 0, largest, 1.0)  # squares of large numbers would overflow
    spread = largest * jnp.sqrt(weight @ ((x - centre[None]) / largest[None]) ** 2 / total)
    spread = jnp.where(spread > 0, spread, 1.0)
    z = jnp.where(weight[:, None] > 0, (x - centre[None]) / spread[None], 0.0)
    l1, l2 = problem.l1 / spread[:, None], problem.l2 / spread[:, None] ** 2
    return _Objective(problem, z, total, l1, l2), centre, spread


class _Loop(NamedTuple):
    """What an iteration hands to the next.

    Attributes:
      now, before: the last two points. momentum: Nesterov's t. curvature: 1 / the step size.
      gradient: the largest entry of the proximal gradient.
    """

    now: Point
    before: Point
    momentum: Array
    curvature: Array
    n_iter: Array
    gradient: Array


def _iterate(objective: _Objective, loop: _Loop) -> _Loop:
    """One iteration: extrapolate, take a proximal step, restart the momentum if it points back."""
    momentum = (1.0 + jnp.sqrt(1.0 + 4.0 * loop.momentum**2)) / 2.0
    ahead = jax.tree.map(
        lambda a, b: a + (loop.momentum - 1.0) / momentum * (a - b), loop.now, loop.before
    )
    curvature, after = _proximal_step(objective, ahead, loop.curvature * GROW)
    gap = _minus(after, ahead)
    gradient = curvature * jnp.maximum(jnp.max(jnp.abs(gap[0])), jnp.max(jnp.abs(gap[1])))
    points_back = _dot(gap, _minus(after, loop.now)) < 0
    momentum = jnp.where(points_back, 1.0, momentum)
    return _Loop(after, loop.now, momentum, curvature, loop.n_iter + 1, gradient)


def _proximal_step(objective: _Objective, ahead: Point, curvature: Array) -> tuple[Array, Point]:
    """Returns a curvature that bounds the loss from above, and the point a step further."""
    value, slope = jax.value_and_grad(objective.smooth)(ahead)
    slope = (slope[0], slope[1] if objective.problem.intercept else jnp.zeros_like(slope[1]))
    eps = jnp.finfo(objective.z.dtype).eps

    def step(curvature: Array) -> tuple[Point, Array]:
        moved = jax.tree.map(lambda a, g: a - g / curvature, ahead, slope)
        after = objective.proximal(moved, curvature)
        gap = _minus(after, ahead)
        bound = value + _dot(slope, gap) + curvature / 2 * _dot(gap, gap)
        slack = 10 * eps * jnp.maximum(jnp.abs(value), 1e-3)
        return after, objective.smooth(after) <= bound + slack

    def shorter(trial: Any) -> Any:
        curvature = trial[0] * SHRINK
        return (curvature, *step(curvature))

    def too_long(trial: Any) -> Array:
        return ~trial[2] & (jnp.isfinite(value) & (trial[0] < 1e100))

    curvature, after, _ = lax.while_loop(too_long, shorter, (curvature, *step(curvature)))
    return curvature, after


def _minus(a: Point, b: Point) -> Point:
    return jax.tree.map(jnp.subtract, a, b)


def _dot(a: Any, b: Any) -> Array:
    first, *rest = jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), a, b))
    total: Any = sum(rest, start=first)
    return total
