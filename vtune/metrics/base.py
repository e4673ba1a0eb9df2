"""What a metric is: a pair of functions, `measure` of one batch and `score` of the totals."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vtune.metrics.modes import check_mode
from vtune.metrics.select import Selection, expand, selection
from vtune.returned import check_pairs, real
from vtune.types import Array, Batch, Outputs, Totals, Weight, at_least_single
from vtune.validation import check_call

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
        When left out, the metric's name says it, if it is well known ("loss", "val_error",
        "accuracy"); `vt.tune(metric=)` refuses others that do not say it.
      options: (*options) -> the metric with these options; calling the metric calls it.
      selected: what calling the metric selected, see `Metric.__call__`; None for nothing.

    Raises:
      TypeError: a function takes other arguments. ValueError: another mode.
    """

    measure: Callable[[Outputs, Batch, Weight], Totals]
    score: Callable[[Totals], Any]
    check: Check | None = None
    mode: str | None = None
    options: Callable[..., Metric] | None = None
    selected: Selection | None = None

    def __post_init__(self) -> None:
        check_call("Metric: measure", self.measure, "outputs, batch, weight")
        check_call("Metric: score", self.score, "totals")
        if self.check is not None:
            check_call("Metric: check", self.check, "outputs, arrays")
        if self.mode is not None:
            check_mode(self.mode)

    def __call__(
        self,
        *args: Any,
        output: Any = None,
        target: Any = None,
        weight: Any = None,
        ignore: Any = None,
        **kwargs: Any,
    ) -> Metric:
        """Returns the metric with its own options, or of a part of the outputs and labels.

            vt.metrics.accuracy(output="tags", target="tags", weight="mask")
            vt.metrics.f1(average="macro", ignore=255)

        Args:
          output: which of several outputs is read: its name or position, or (outputs) -> output.
          target: the entry of the data that holds the labels, or (batch) -> labels. They are `y`
            when left out, and a metric of your own finds them as `batch["y"]`.
          weight: how much every row or place counts: the name of an entry, or (batch) -> weights
            `[batch]` or `[batch, ...]`, not negative; a mask will do. A metric of your own then
            gets weights of that shape. Functions of the batch see all rows of the data once,
            when they are checked.
          ignore: a label, or several, whose places do not count. Its batch has 0 there.
          args, kwargs: the metric's own options.

        Raises:
          TypeError, ValueError: no such option, or a value that is not allowed.
        """
        chosen = selection(output, target, weight, ignore)
        if chosen == Selection():
            return self._with_options(args, kwargs)
        if self.selected is not None:
            raise TypeError("give output=, target=, weight= and ignore= in one call")
        metric = self._with_options(args, kwargs) if args or kwargs else self
        return _selected(metric, chosen)

    def _with_options(self, args: Any, kwargs: Any) -> Metric:
        """Returns the metric with options of its own."""
        if self.options is None:
            raise TypeError(
                "this metric has no options; give it as it is, without calling it, or with those "
                "of every metric: output=, target=, weight=, ignore="
            )
        takes = inspect.signature(self.options)
        try:
            takes.bind(*args, **kwargs)
        except TypeError as error:
            names = ", ".join([*takes.parameters, "output, target, weight, ignore"])
            raise TypeError(f"{error}; this metric's options are {names}") from None
        return self.options(*args, **kwargs)


def _selected(metric: Metric, chosen: Selection) -> Metric:
    """Returns a metric of what was chosen."""

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        return metric.measure(*chosen.of_batch(outputs, batch, weight))

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        outputs, arrays = chosen.of_data(outputs, arrays)
        if metric.check is not None:
            metric.check(outputs, arrays)

    options = metric.options
    if options is not None:
        make = options

        @functools.wraps(make)  # whose signature is that of the options
        def options(*args: Any, **kwargs: Any) -> Metric:
            return _selected(make(*args, **kwargs), chosen)

    return Metric(measure, metric.score, check, metric.mode, options, chosen)


def configurable(make: Callable[..., Metric]) -> Metric:
    """Returns the metric with default options; calling it with options returns another one."""
    return dataclasses.replace(make(), options=make)


def documented(metric: Metric, text: str) -> Metric:
    """Gives a metric a docstring of its own, which `help` then shows, and returns it."""
    object.__setattr__(metric, "__doc__", text)
    return metric


def mean(
    value: Callable[[Outputs, Batch], Array],
    *,
    mode: str | None = None,
    check: Check | None = None,
    weight: Any = None,
) -> Metric:
    """Makes a metric of the weighted mean over the rows, or over all places of all rows.

    Args:
      value: (outputs, batch) -> [batch, ...], the values to average.
      mode, check: as in `Metric`.
      weight: how much every value counts: the name of an entry of the data, or (batch) ->
        weights [batch] or [batch, ...].
    """
    who = "metrics.mean: the function"
    check_call(who, value, "outputs, batch")

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        values = real(who, value(outputs, batch), "a real number for every row")
        if values.ndim == 0 or values.shape[0] != weight.shape[0]:
            raise ValueError(
                f"{who} returned shape {list(values.shape)} for a batch of "
                f"{weight.shape[0]} rows; return a value a row, without .mean()"
            )
        check_pairs(who, value, (outputs, batch), values, weight.shape[0])
        if not jnp.issubdtype(values.dtype, jnp.inexact):  # weights are no whole numbers
            values = values.astype(weight.dtype)
        # in half precision a sum of 1,000 weights is no longer 1,000
        values = at_least_single(values)
        weights = expand(weight, values).astype(values.dtype)
        # `where`, since padding may be NaN and 0 * NaN is NaN
        return jnp.sum(jnp.where(weights > 0, values * weights, 0.0)), jnp.sum(weights)

    metric = Metric(measure, lambda totals: totals[0] / totals[1], check, mode)
    return metric if weight is None else metric(weight=weight)


def ratio(above: Array, below: Array, zero_division: Any = 0.0) -> Array:
    """Returns above / below, or `zero_division` where below is 0."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), zero_division)


def check_zero_division(who: str, value: Any) -> None:
    """Raises ValueError unless the value of what is not defined is 0, 1 or nan."""
    if not isinstance(value, int | float) or not (value in (0, 1) or math.isnan(value)):
        raise ValueError(f"{who}: zero_division={value!r} must be 0, 1 or nan")


def targets(who: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the entry `y` of the data; raises ValueError if there is none."""
    if "y" not in arrays:
        raise ValueError(
            f"{who} reads batch['y']; the data has {sorted(arrays)}: say which entry holds the "
            "labels, such as vt.metrics.accuracy(target=...)"
        )
    return arrays["y"]
