"""What a metric is: a pair of functions, `measure` one batch and `score` the totals."""

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
    """A metric of ONE member.

    Args:
      measure: (outputs, batch, weight [batch]) -> totals of one batch, a pytree. Totals are
        summed over the batches; a part wrapped in `vt.metrics.PerRow` is concatenated instead.
      score: totals -> the value, a scalar (arrays are allowed and kept in the history).
      check: (outputs as shapes, arrays of the data set on the host) -> None; raises ValueError
        or TypeError where the metric cannot be taken. Called once, before compiling.
      mode: "max" where higher is better, else "min"; says which value of a history is its best.
      options: makes the metric with other options; `vt.metrics.f1(average="macro")` calls it.
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
    """The metric with its defaults, which called with options gives another."""
    return dataclasses.replace(make(), options=make)


def expand(weight: FloatArray[Array, " batch"], like: Array) -> Array:
    """Weights `[batch]` broadcast to `like` `[batch, ...]`."""
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (like.ndim - 1)), like.shape)


def mean(
    value: Callable[[Outputs, Batch], Array], *, mode: str = "max", check: Check | None = None
) -> Metric:
    """The weighted mean of `value(outputs, batch)`, `[batch, ...]`."""

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        values = jnp.asarray(value(outputs, batch))
        if values.ndim == 0 or values.shape[0] != weight.shape[0]:
            raise ValueError(
                f"metrics.mean: the function returned shape {list(values.shape)} for a batch of "
                f"{weight.shape[0]} rows; return a value a row, without .mean()"
            )
        weights = expand(weight, values).astype(values.dtype)
        # where, not a product alone: padding may be NaN and must not count
        return jnp.sum(jnp.where(weights > 0, values * weights, 0.0)), jnp.sum(weights)

    return Metric(measure, lambda totals: totals[0] / totals[1], check, mode)


def ratio(above: Array, below: Array, zero_division: Any = 0.0) -> Array:
    """above / below, and `zero_division` where below is 0."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), zero_division)


def targets(who: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The entry `y` of the data."""
    if "y" not in arrays:
        raise ValueError(f"{who} reads batch['y']; the data has {sorted(arrays)}")
    return arrays["y"]
