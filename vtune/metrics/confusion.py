"""Metrics of the confusion matrix, with scikit-learn's parameters and rules for empty classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, configurable, ratio
from vtune.metrics.labels import check_labels, checked, flat
from vtune.types import Array, Batch, Outputs, Weight
from vtune.validation import is_whole

AVERAGES = ("binary", "micro", "macro", "weighted", None)


def counts(outputs: Outputs, batch: Batch, weight: Weight) -> Array:
    """[classes, classes] the weight of rows by label and predicted class."""
    logits, labels, weights = flat(outputs, batch, weight)
    classes = logits.shape[-1]
    labelled = jax.nn.one_hot(labels, classes, dtype=weights.dtype) * weights[:, None]
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), classes, dtype=weights.dtype)
    return jnp.matmul(labelled.T, predicted, precision="highest")


def _of_counts(score: Callable[[Array], Array], check: Any = checked) -> Metric:
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
        there = true > 0  # classes without a row do not count
        classes = jnp.sum(there)
        value = jnp.sum(jnp.where(there, ratio(jnp.diag(matrix), true), 0.0)) / classes
        if not adjusted:
            return value
        chance = 1 / classes
        return (value - chance) / (1 - chance)

    return _of_counts(score)


def _averaged(who: str, value: Callable[..., Array]) -> Callable[..., Metric]:
    """Makes a metric of (hits, predicted, true, zero_division) by class."""

    def make(
        average: Any = "binary",
        *,
        pos_label: Any = 1,
        labels: Any = None,
        zero_division: Any = 0.0,
    ) -> Metric:
        if average not in AVERAGES:
            raise ValueError(f"{who}: average={average!r} must be one of {list(AVERAGES)}")
        number = isinstance(zero_division, int | float)
        if not number or not (zero_division in (0, 1) or math.isnan(zero_division)):
            raise ValueError(f"{who}: zero_division={zero_division!r} must be 0, 1 or nan")
        if labels is not None:
            labels = list(labels)
            if not labels or not all(map(is_whole, labels)):
                raise TypeError(
                    f"{who}: labels={labels!r} must be a list of classes, such as [0, 2]"
                )

        def score(matrix: Array) -> Array:
            hits, predicted, true = jnp.diag(matrix), jnp.sum(matrix, 0), jnp.sum(matrix, 1)
            if average == "binary":
                own = [part[pos_label] for part in (hits, predicted, true)]
                return value(*own, zero_division)
            chosen = predicted + true > 0  # of the others nothing can be said
            if labels is not None:
                chosen = jnp.zeros(len(hits), bool).at[np.asarray(labels)].set(True)
            if average == "micro":
                own = [jnp.sum(jnp.where(chosen, part, 0.0)) for part in (hits, predicted, true)]
                return value(*own, zero_division)
            each = value(hits, predicted, true, zero_division)
            if average is None:
                return each if labels is None else each[np.asarray(labels)]
            chosen &= ~jnp.isnan(each)
            weight = jnp.where(chosen, true if average == "weighted" else 1.0, 0.0)
            # Where no class has weight the plain mean is taken, as scikit-learn does.
            weight = jnp.where(jnp.sum(weight) > 0, weight, chosen.astype(weight.dtype))
            return jnp.sum(jnp.where(chosen, each * weight, 0.0)) / jnp.sum(weight)

        def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
            classes = check_labels(outputs, arrays)
            if average == "binary" and classes != 2:
                raise ValueError(
                    f'{who} is of two classes, the model has {classes}; say average="macro", '
                    f'"micro" or "weighted": vt.metrics.{who}(average="macro")'
                )
            for name, own in (("labels", labels or ()), ("pos_label", (pos_label,))):
                if any(not 0 <= label < classes for label in own):
                    raise ValueError(
                        f"{who}: {name}={list(own)}, the model has classes 0 to {classes - 1}"
                    )

        return _of_counts(score, check)

    return make


def _precision(hits: Array, predicted: Array, true: Array, zero_division: Any) -> Array:
    return ratio(hits, predicted, zero_division)


def _recall(hits: Array, predicted: Array, true: Array, zero_division: Any) -> Array:
    return ratio(hits, true, zero_division)


def _f1(hits: Array, predicted: Array, true: Array, zero_division: Any) -> Array:
    return ratio(2 * hits, predicted + true, zero_division)


confusion_matrix = configurable(_confusion_matrix)
"""[classes, classes] rows by label and predicted class; normalize= "true", "pred" or "all"."""

balanced_accuracy = configurable(_balanced_accuracy)
"""Mean recall over the classes that have rows; adjusted=True puts chance at 0."""

precision = configurable(_averaged("precision", _precision))
"""Hits per predicted row. average= "binary" (of pos_label), "micro", "macro", "weighted" or None
(by class, [classes]); labels= the classes to average over, those that occur when left out;
zero_division= the value where nothing was predicted. As in scikit-learn."""

recall = configurable(_averaged("recall", _recall))
"""Hits per row of the class; parameters as `precision`."""

f1 = configurable(_averaged("f1", _f1))
"""Harmonic mean of precision and recall; parameters as `precision`."""
