"""Regression metrics: outputs against targets `y` of the same shape.

Where rows have several targets, the score is the plain mean over the targets, as in scikit-learn;
with weights of single places, over those targets that have any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, documented, mean, ratio, targets
from vtune.metrics.select import expand
from vtune.metrics.totals import PerRow
from vtune.types import Array, Batch, Outputs, Totals, Weight, at_least_single, float_dtype


def check_targets(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Checks that a metric compares arrays of one shape, since others would broadcast.

    Raises:
      TypeError: the model has several outputs. ValueError: outputs and targets differ in shape.
    """
    target = targets("a regression metric", arrays)
    given = one_array(outputs).shape[1:]
    if given != target.shape[1:]:
        raise ValueError(
            f"the model's outputs are {list(given)} a row and the targets "
            f"batch['y'] {list(target.shape[1:])}; make them alike, for example with "
            "outputs[..., 0] in the model (broadcasting would compare every pair)"
        )


def one_array(outputs: Any) -> Any:
    """Returns the one array of the outputs; raises TypeError where there are several."""
    leaves = jax.tree.leaves(outputs)
    if len(leaves) != 1:
        raise TypeError(
            f"a regression metric compares one array, the model returns {len(leaves)}; say which: "
            "vt.metrics.mse(output=...), a name, a position or a function"
        )
    return leaves[0]


def _columns(values: Array, weight: Weight) -> tuple[Array, Array]:
    """Returns values [rows, targets], 0 where the weight is, and weights [rows, 1 or targets]."""
    if weight.ndim > 1:
        weight = expand(weight, values)
    values = values.reshape(values.shape[0], -1)
    weights = weight.astype(float_dtype()).reshape(values.shape[0], -1)
    return jnp.where(weights > 0, values, 0.0), weights


def _residual(outputs: Outputs, batch: Batch) -> Array:
    return at_least_single(outputs) - batch["y"]


def _squares(outputs: Outputs, batch: Batch, weight: Weight) -> tuple[Array, Array]:
    values, weights = _columns(jnp.square(_residual(outputs, batch)), weight)
    return jnp.sum(values * weights, axis=0), jnp.sum(weights, axis=0)


def _mean_of_targets(values: Array, weighted: Array) -> Array:
    """Returns the mean over the targets that have weight, of values [targets]."""
    weighted = jnp.broadcast_to(weighted, values.shape)
    return ratio(jnp.sum(jnp.where(weighted, values, 0.0)), jnp.sum(weighted), jnp.nan)


def _rmse() -> Metric:
    def score(totals: Totals) -> Array:
        squares, weights = totals
        return _mean_of_targets(jnp.sqrt(squares / weights), weights > 0)

    return Metric(_squares, score, check_targets, "min")


def _r2() -> Metric:
    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        # Keeps the rows: the difference of the sums of y^2 and y loses all its digits.
        y, weights = _columns(jnp.asarray(batch["y"], float_dtype()), weight)
        return _squares(outputs, batch, weight)[0], PerRow((y, weights))

    def score(totals: Totals) -> Array:
        residual, (y, weights) = totals[0], totals[1].value
        total = lambda values: jnp.sum(values, axis=0, keepdims=True)
        centre = total(y * weights) / total(weights)
        spread = jnp.sum(jnp.square(y - centre) * weights, axis=0)
        low = jnp.min(jnp.where(weights > 0, y, jnp.inf), axis=0)
        varies = jnp.max(jnp.where(weights > 0, y, -jnp.inf), axis=0) > low
        # The value for a target that is the same in all rows.
        constant = jnp.where(residual > 0, 0.0, jnp.where(residual == 0, 1.0, jnp.nan))
        value = jnp.where(varies, 1 - residual / jnp.where(varies, spread, 1.0), constant)
        rows = jnp.sum(weights > 0, axis=0)
        value = jnp.where(rows > 1, value, jnp.nan)  # of one row it is not defined
        return _mean_of_targets(value, rows > 0)

    return Metric(measure, score, check_targets, "max")


def _mean_of(value: Callable[[Array], Array]) -> Metric:
    error = lambda outputs, batch: value(_residual(outputs, batch))
    return mean(error, mode="min", check=check_targets)


mse = documented(_mean_of(jnp.square), "Mean squared error of `outputs` against `y`.")
rmse = documented(_rmse(), "Root of the mean squared error; the mean over the targets.")
mae = documented(_mean_of(jnp.abs), "Mean absolute error of `outputs` against `y`.")
r2 = documented(
    _r2(),
    "Coefficient of determination R^2; the mean over the targets, NaN for fewer than two rows.",
)
