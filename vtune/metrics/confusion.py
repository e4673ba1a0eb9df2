"""Metrics computed from the confusion matrix, with scikit-learn's options.

Classes without rows follow scikit-learn's rules too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, configurable, documented, ratio
from vtune.metrics.labels import check_labels, checked, flat
from vtune.types import Array, Batch, Outputs, Weight
from vtune.validation import is_whole

AVERAGES = ("binary", "micro", "macro", "weighted", None)


def counts(outputs: Outputs, batch: Batch, weight: Weight) -> Array:
    """Returns the confusion matrix [classes, classes]: weights of rows by label and prediction."""
    logits, labels, weights = flat(outputs, batch, weight)
    classes = logits.shape[-1]
    labelled = jax.nn.one_hot(labels, classes, dtype=weights.dtype) * weights[:, None]
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), classes, dtype=weights.dtype)
    return jnp.matmul(labelled.T, predicted, precision="highest")


def _of_counts(score: Callable[[Array], Array], check: Any = checked) -> Metric:
    """Makes a metric from a function of the confusion matrix."""
    return Metric(counts, score, check)


def _confusion_matrix(normalize: Any = None) -> Metric:
    if normalize not in (None, "true", "pred", "all"):
        raise ValueError(
            f'confusion_matrix: normalize={normalize!r} must be None, "true", "pred" or "all"'
        )
    axis = {"true": 1, "pred": 0, "all": None}

    def score(matrix: Array) -> Array:
        if normalize is None:
            return matrix
        return ratio(matrix, jnp.sum(matrix, axis=axis[normalize], keepdims=True))

    return _of_counts(score)


def _balanced_accuracy(adjusted: Any = False) -> Metric:
    def score(matrix: Array) -> Array:
        true = jnp.sum(matrix, axis=1)
        present = true > 0  # classes without a row do not count
        classes = jnp.sum(present)
        value = jnp.sum(jnp.where(present, ratio(jnp.diag(matrix), true), 0.0)) / classes
        if not adjusted:
            return value
        chance = 1 / classes
        return (value - chance) / (1 - chance)

    return _of_counts(score)


def _averaged(who: str, value: Callable[..., Array]) -> Callable[..., Metric]:
    """Makes the function that takes a metric's options and returns the metric.

    Args:
      value: (hits, predicted, true, zero_division) -> the metric of one class, or of several from
        arrays [classes]: rows of the class that are predicted right, rows predicted as the class,
        rows of the class.
    """

    def make(
        average: Any = "binary",
        *,
        pos_label: Any = 1,
        labels: Any = None,
        zero_division: Any = 0.0,
    ) -> Metric:
        labels = _checked_options(who, average, labels, zero_division)

        def score(matrix: Array) -> Array:
            counted = jnp.diag(matrix), jnp.sum(matrix, 0), jnp.sum(matrix, 1)
            hits, predicted, true = counted
            if average == "binary":
                return value(*(part[pos_label] for part in counted), zero_division)
            chosen = predicted + true > 0  # classes that occur
            if labels is not None:
                chosen = jnp.zeros(len(hits), bool).at[np.asarray(labels)].set(True)
            if average == "micro":
                totals = [jnp.sum(jnp.where(chosen, part, 0.0)) for part in counted]
                return value(*totals, zero_division)
            by_class = value(hits, predicted, true, zero_division)
            if average is None:
                return by_class if labels is None else by_class[np.asarray(labels)]
            chosen &= ~jnp.isnan(by_class)
            weight = jnp.where(chosen, true if average == "weighted" else 1.0, 0.0)
            # Where no class has weight the plain mean is taken, as scikit-learn does.
            weight = jnp.where(jnp.sum(weight) > 0, weight, chosen.astype(weight.dtype))
            return jnp.sum(jnp.where(chosen, by_class * weight, 0.0)) / jnp.sum(weight)

        def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
            classes = check_labels(outputs, arrays)
            if average == "binary" and classes != 2:
                raise ValueError(
                    f'{who} is of two classes, the model has {classes}; say average="macro", '
                    f'"micro" or "weighted": vt.metrics.{who}(average="macro")'
                )
            for name, given in (("labels", labels or ()), ("pos_label", (pos_label,))):
                if any(not 0 <= label < classes for label in given):
                    raise ValueError(
                        f"{who}: {name}={list(given)}, the model has classes 0 to {classes - 1}"
                    )

        return _of_counts(score, check)

    return make


def _checked_options(who: str, average: Any, labels: Any, zero_division: Any) -> list[int] | None:
    """Returns the labels as a list; raises ValueError or TypeError for options that are wrong."""
    if average not in AVERAGES:
        raise ValueError(f"{who}: average={average!r} must be one of {list(AVERAGES)}")
    number = isinstance(zero_division, int | float)
    if not number or not (zero_division in (0, 1) or math.isnan(zero_division)):
        raise ValueError(f"{who}: zero_division={zero_division!r} must be 0, 1 or nan")
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


confusion_matrix = documented(
    configurable(_confusion_matrix),
    """Weights of the rows by label and predicted class, [classes, classes].

    Options:
      normalize: "true" divides by the rows of a label, "pred" by those of a prediction, "all" by
        all rows; None, the default, does not divide.
    """,
)
balanced_accuracy = documented(
    configurable(_balanced_accuracy),
    """Mean recall over the classes that have rows.

    Options:
      adjusted: True rescales the value so that chance is 0.
    """,
)
precision = documented(
    configurable(_averaged("precision", _precision)),
    """Share of the rows predicted as a class that belong to it, as in scikit-learn.

    Options:
      average: "binary" (of the class pos_label), "micro", "macro", "weighted", or None for an
        array [classes].
      pos_label: the class of "binary".
      labels: the classes to average over; by default those that occur.
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
