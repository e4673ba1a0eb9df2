"""Precision, recall and F1 with scikit-learn's averages, over classes or over yes-or-no answers.

What has no rows follows scikit-learn's rules too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, check_zero_division, configurable, documented, ratio
from vtune.metrics.confusion import counts
from vtune.metrics.labels import check_labels, is_multilabel
from vtune.metrics.select import expand
from vtune.types import Array, Batch, Outputs, Totals, Weight, float_dtype
from vtune.validation import is_whole

AVERAGES = ("binary", "micro", "macro", "weighted", "samples", None)
# (hits, predicted, true, zero_division) -> the metric of one class, or of several from arrays
# [classes]: rows of the class that are predicted right, rows predicted as the class, rows of it.
Value = Callable[..., Array]


def _averaged(who: str, value: Value) -> Callable[..., Metric]:
    """Makes the function that takes a metric's options and returns the metric."""

    def make(
        average: Any = "binary",
        *,
        pos_label: Any = 1,
        labels: Any = None,
        zero_division: Any = 0.0,
    ) -> Metric:
        labels = _checked_options(who, average, labels, zero_division)
        chosen_labels = None if labels is None else np.asarray(labels)

        def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
            if average == "samples":
                return _of_samples(value, outputs, batch, weight, chosen_labels, zero_division)
            if average != "binary" and is_multilabel(outputs, batch["y"]):
                return tuple(jnp.sum(part, axis=0) for part in _hits(outputs, batch, weight)[:3])
            return counts(outputs, batch, weight)

        def score(totals: Totals) -> Array:
            if average == "samples":
                return totals[0] / totals[1]
            answers = isinstance(totals, tuple)
            counted = totals if answers else (jnp.diag(totals), totals.sum(0), totals.sum(1))
            if average == "binary":
                return value(*(part[pos_label] for part in counted), zero_division)
            hits, predicted, true = counted
            chosen = jnp.ones(len(hits), bool) if answers else predicted + true > 0  # that occur
            if labels is not None:
                chosen = jnp.zeros(len(hits), bool).at[chosen_labels].set(True)
            if average == "micro":
                sums = [jnp.sum(jnp.where(chosen, part, 0.0)) for part in counted]
                return value(*sums, zero_division)
            by_class = value(hits, predicted, true, zero_division)
            if average is None:
                return by_class if labels is None else by_class[chosen_labels]
            chosen &= ~jnp.isnan(by_class)
            weight = jnp.where(chosen, true if average == "weighted" else 1.0, 0.0)
            # Where no class has weight the plain mean is taken, as scikit-learn does.
            weight = jnp.where(jnp.sum(weight) > 0, weight, chosen.astype(weight.dtype))
            return jnp.sum(jnp.where(chosen, by_class * weight, 0.0)) / jnp.sum(weight)

        def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
            _check(who, average, labels, pos_label, outputs, arrays)

        return Metric(measure, score, check, "max")

    return make


def _hits(outputs: Outputs, batch: Batch, weight: Weight) -> tuple[Array, Array, Array, Array]:
    """Returns what each answer of each row counts, [rows, answers]: whether it is rightly yes,
    predicted yes, truly yes, and its weight; the first three times the weight."""
    weights = expand(weight, outputs).astype(float_dtype())
    true, predicted = batch["y"] > 0, outputs > 0
    counted = (true & predicted, predicted, true)
    hits, yes, truly = (jnp.where(part, weights, 0.0) for part in counted)
    return hits, yes, truly, weights


def _of_samples(
    value: Value, outputs: Outputs, batch: Batch, weight: Weight, labels: Any, zero_division: Any
) -> tuple[Array, Array]:
    """Returns the weighted sum of the metric of every row, over its answers, and of the weights."""
    hits, predicted, true, weights = (
        part if labels is None else part[:, labels] for part in _hits(outputs, batch, weight)
    )
    by_row = value(hits.sum(1), predicted.sum(1), true.sum(1), zero_division)
    weight = jnp.max(weights, axis=1)
    weight = jnp.where(jnp.isnan(by_row), 0.0, weight)
    return jnp.sum(jnp.where(weight > 0, by_row * weight, 0.0)), jnp.sum(weight)


def _check(
    who: str, average: Any, labels: Any, pos_label: Any, outputs: Any, arrays: Mapping[str, Any]
) -> None:
    """Raises ValueError where options do not suit the labels and outputs."""
    classes = check_labels(outputs, arrays)
    (logits,) = jax.tree.leaves(outputs)
    multilabel = is_multilabel(logits, arrays["y"])
    if average == "binary" and classes != 2:
        raise ValueError(
            f'{who} is of two classes, the model has {classes}; say average="macro", '
            f'"micro" or "weighted": vt.metrics.{who}(average="macro")'
        )
    if average == "samples" and not multilabel:
        raise ValueError(
            f'{who}: average="samples" is of rows with several yes-or-no answers, labels and '
            f'outputs [rows, answers]; for classes say vt.metrics.{who}(average="macro")'
        )
    several = multilabel and average != "binary"
    count, what = (logits.shape[1], "answers") if several else (classes, "classes")
    for name, given in (("labels", labels or ()), ("pos_label", () if several else (pos_label,))):
        if any(not 0 <= label < count for label in given):
            raise ValueError(f"{who}: {name}={list(given)}, the model has {what} 0 to {count - 1}")


def _checked_options(who: str, average: Any, labels: Any, zero_division: Any) -> list[int] | None:
    """Returns the labels as a list; raises ValueError or TypeError for options that are wrong."""
    if average not in AVERAGES:
        raise ValueError(f"{who}: average={average!r} must be one of {list(AVERAGES)}")
    check_zero_division(who, zero_division)
    if labels is None:
        return None
    labels = list(labels)
    if not labels or not all(map(is_whole, labels)):
        raise TypeError(f"{who}: labels={labels!r} must be a list of classes, such as [0, 2]")
    return labels


def _precision(hits: Array, predicted: Array, true: Array, zero_division: Any) -> Array:
    return ratio(hits, predicted, zero_division)


def _recall(hits: Array, predicted: Array, true: Array, zero_division: Any) -> Array:
    return ratio(hits, true, zero_division)


def _f1(hits: Array, predicted: Array, true: Array, zero_division: Any) -> Array:
    return ratio(2 * hits, predicted + true, zero_division)


precision = documented(
    configurable(_averaged("precision", _precision)),
    """Share of the rows predicted as a class that belong to it, as in scikit-learn.

    Args:
      average: "binary" (of the class pos_label), "micro", "macro", "weighted", or None for an
        array [classes]. Where a row has several yes-or-no answers, labels and logits
        [rows, answers], these are averages over the answers, "samples" is the mean over the
        rows, and "binary" takes all answers of all rows together, which is "micro".
      pos_label: the class of "binary".
      labels: the classes to average over, by default those that occur, or the answers, by
        default all.
      zero_division: the value of a class that is never predicted: 0, 1 or nan.
    """,
)
recall = documented(
    configurable(_averaged("recall", _recall)),
    """Share of the rows of a class that are predicted as it, as in scikit-learn.

    The options are those of `precision`; zero_division is the value of a class without rows.
    """,
)
f1 = documented(
    configurable(_averaged("f1", _f1)),
    """Harmonic mean of precision and recall, as in scikit-learn.

    The options are those of `precision`; zero_division is the value of a class that neither has
    rows nor is predicted.
    """,
)
