"""A Gaussian process for a function that drifts over time, with a fixed number of rows.

Kernel: variance * exp(-|x - x'|^2 / lengthscale) * (1 - epsilon)^(|t - t'| / 2)
(Bogunovic et al. 2016). Rows whose `mask` is 0 are ignored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, cholesky

from vtune.types import Array


class Observations(NamedTuple):
    """Observed values y [rows] at points x [rows, dims], t [rows]; mask [rows] is 0 for no row."""

    x: Any
    t: Any
    y: Any
    mask: Any


class Kernel(NamedTuple):
    """The kernel's parameters, and the variance of the noise on y."""

    variance: Any
    lengthscale: Any
    epsilon: Any
    noise: Any


def covariance(kernel: Kernel, x: Array, t: Array, x2: Array, t2: Array) -> Array:
    """Returns the prior covariance [rows, rows2] of the function, without noise."""
    distance = jnp.sum((x[:, None, :] - x2[None, :, :]) ** 2, axis=-1)
    age = jnp.abs(t[:, None] - t2[None, :])
    decay = jnp.power(1 - jnp.asarray(kernel.epsilon), age / 2)
    return kernel.variance * jnp.exp(-distance / kernel.lengthscale) * decay


def posterior(kernel: Kernel, seen: Observations, x: Array, t: Array) -> tuple[Array, Array]:
    """Returns mean [points] and covariance [points, points] of the function at (x, t)."""
    factor = _factor(kernel, seen)
    across = covariance(kernel, x, t, seen.x, seen.t) * seen.mask[None, :]
    mean = _times(across, cho_solve((factor, True), seen.y * seen.mask))
    explained = _times(across, cho_solve((factor, True), across.T))
    return mean, covariance(kernel, x, t, x, t) - explained


def log_likelihood(kernel: Kernel, seen: Observations) -> Array:
    """Returns the log marginal likelihood up to a constant, a scalar."""
    factor = _factor(kernel, seen)
    y = seen.y * seen.mask
    return -0.5 * _times(y, cho_solve((factor, True), y)) - jnp.sum(jnp.log(jnp.diag(factor)))


def condition(kernel: Kernel, covariance: Array, point: Array) -> Array:
    """Returns the covariance [points, points] after point number `point` is observed as well."""
    column = covariance[:, point]
    return covariance - column[:, None] * column[None, :] / (column[point] + kernel.noise)


def _factor(kernel: Kernel, seen: Observations) -> Array:
    """Returns the Cholesky factor of the observations' covariance; masked rows become identity."""
    inner = covariance(kernel, seen.x, seen.t, seen.x, seen.t)
    inner = inner * seen.mask[:, None] * seen.mask[None, :]
    diagonal = jnp.where(seen.mask > 0, kernel.noise, 1.0)
    return cholesky(inner + jnp.diag(diagonal), lower=True)


def _times(a: Array, b: Array) -> Array:
    """Multiplies in full precision, since some accelerators round float32 products."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
