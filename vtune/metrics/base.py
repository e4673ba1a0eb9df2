"""What a metric is: a pair of functions, `measure` of one batch and `score` of the totals."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vtune.types import Array, Batch, FloatArray, Outputs, Totals, Weight

Check = Callable[[Any, Mapping[str, np.ndarray]], None]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of ONE member's outputs on the evaluation rows.

    Args:
      measure: (outputs, batch, weight [batch]) -> totals of one batch, a pytree. Totals are
        summed over the batches; a part wrapped in `vt.metrics.PerRow` is concatenated instead.
      score: totals -> the value, a scalar (arrays are allowed and kept in the history).
      check: (outputs as shapes, arrays of the data set on the host) -> None. Called once before
        compiling; raises ValueError or TypeError if the metric cannot be computed of them.
      mode: "max" if higher is better, else "min". It decides which value of a history is the best.
      options: (*options) -> the metric with these options; calling the metric calls it.
    """

    measure: Callable[[Outputs, Batch, Weight], Totals]
    score: Callable[[Totals], Any]
    check: Check | None = None
    mode: str = "max"
    options: Callable[..., Metric] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Metric:
        if self.options is None:
            raise TypeError("this metric has no options; give it as it is, without calling it")
        takes = inspect.signature(self.options)
        try:
            takes.bind(*args, **kwargs)
        except TypeError as error:
            names = ", ".join(takes.parameters)
            raise TypeError(f"{error}; this metric's options are {names}") from None
        return self.options(*args, **kwargs)


def configurable(make: Callable[..., Metric]) -> Metric:
    """Returns the metric with default options; calling it with options returns another one."""
    return dataclasses.replace(make(), options=make)


def documented(metric: Metric, text: str) -> Metric:
    """Gives a metric a docstring of its own, which `help` then shows, and returns it."""
    object.__setattr__(metric, "__doc__", text)
    return metric


def expand(weight: FloatArray[Array, " batch"], like: Array) -> Array:
    """Broadcasts weights `[batch]` to the shape of `like` `[batch, ...]`."""
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (like.ndim - 1)), like.shape)


def mean(
    value: Callable[[Outputs, Batch], Array], *, mode: str = "max", check: Check | None = None
) -> Metric:
    """Makes a metric of the weighted mean over the rows.

    Args:
      value: (outputs, batch) -> [batch, ...], the values to average.
      mode, check: as in `Metric`.
    """

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        values = jnp.asarray(value(outputs, batch))
        if values.ndim == 0 or values.shape[0] != weight.shape[0]:
            raise ValueError(
                f"metrics.mean: the function returned shape {list(values.shape)} for a batch of "
                f"{weight.shape[0]} rows; return a value a row, without .mean()"
            )
        weights = expand(weight, values).astype(values.dtype)
        # `where`, since padding may be NaN and 0 * NaN is NaN
        return jnp.sum(jnp.where(weights > 0, values * weights, 0.0)), jnp.sum(weights)

    return Metric(measure, lambda totals: totals[0] / totals[1], check, mode)


def ratio(above: Array, below: Array, zero_division: Any = 0.0) -> Array:
    """Returns above / below, or `zero_division` where below is 0."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), zero_division)


def targets(who: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the entry `y` of the data; raises ValueError if there is none."""
    if "y" not in arrays:
        raise ValueError(f"{who} reads batch['y']; the data has {sorted(arrays)}")
    return arrays["y"]
