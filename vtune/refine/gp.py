"""A Gaussian process whose function drifts over time, of a fixed size, inside the program.

Kernel: variance * exp(-|x - x'|^2 / lengthscale) * (1 - epsilon)^(|t - t'| / 2)
(Bogunovic et al. 2016). Rows where `mask` is 0 do not count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, cholesky

from vtune.types import Array


class Observations(NamedTuple):
    """x [rows, dims], t [rows], y [rows], mask [rows], 0 where a row is empty."""

    x: Any
    t: Any
    y: Any
    mask: Any


class Kernel(NamedTuple):
    """The kernel's numbers, and the variance of the noise on y."""

    variance: Any
    lengthscale: Any
    epsilon: Any
    noise: Any


def covariance(kernel: Kernel, x: Array, t: Array, x2: Array, t2: Array) -> Array:
    """[rows, rows2] of the function itself, without noise."""
    distance = jnp.sum((x[:, None, :] - x2[None, :, :]) ** 2, axis=-1)
    age = jnp.abs(t[:, None] - t2[None, :])
    decay = jnp.power(1 - jnp.asarray(kernel.epsilon), age / 2)
    return kernel.variance * jnp.exp(-distance / kernel.lengthscale) * decay


def posterior(kernel: Kernel, seen: Observations, x: Array, t: Array) -> tuple[Array, Array]:
    """Mean [points] and covariance [points, points] of the function at (x, t), given `seen`."""
    factor = _factor(kernel, seen)
    across = covariance(kernel, x, t, seen.x, seen.t) * seen.mask[None, :]
    mean = _times(across, cho_solve((factor, True), seen.y * seen.mask))
    explained = _times(across, cho_solve((factor, True), across.T))
    return mean, covariance(kernel, x, t, x, t) - explained


def log_likelihood(kernel: Kernel, seen: Observations) -> Array:
    """The log marginal likelihood, up to a constant; a scalar."""
    factor = _factor(kernel, seen)
    y = seen.y * seen.mask
    return -0.5 * _times(y, cho_solve((factor, True), y)) - jnp.sum(jnp.log(jnp.diag(factor)))


def condition(kernel: Kernel, covariance: Array, point: Array) -> Array:
    """The covariance [points, points] once point number `point` will be observed too."""
    column = covariance[:, point]
    return covariance - column[:, None] * column[None, :] / (column[point] + kernel.noise)


def _factor(kernel: Kernel, seen: Observations) -> Array:
    """The lower Cholesky factor of the observations' covariance; empty rows are those of 1."""
    inner = covariance(kernel, seen.x, seen.t, seen.x, seen.t)
    inner = inner * seen.mask[:, None] * seen.mask[None, :]
    diagonal = jnp.where(seen.mask > 0, kernel.noise, 1.0)
    return cholesky(inner + jnp.diag(diagonal), lower=True)


def _times(a: Array, b: Array) -> Array:
    """A product in full precision: some accelerators round float32 to less."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
