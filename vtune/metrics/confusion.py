"""The confusion matrix, and balanced accuracy, which is computed from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vtune.metrics.base import Metric, configurable, documented, ratio
from vtune.metrics.labels import checked, flat
from vtune.types import Array, Batch, Outputs, Weight


def counts(outputs: Outputs, batch: Batch, weight: Weight) -> Array:
    """Returns the confusion matrix [classes, classes]: weights of rows by label and prediction."""
    logits, labels, weights = flat(outputs, batch, weight)
    classes = logits.shape[-1]
    labelled = jax.nn.one_hot(labels, classes, dtype=weights.dtype) * weights[:, None]
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), classes, dtype=weights.dtype)
    return jnp.matmul(labelled.T, predicted, precision="highest")


def _of_counts(score: Callable[[Array], Array]) -> Metric:
    """Makes a metric from a function of the confusion matrix."""
    return Metric(counts, score, checked, "max")


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


confusion_matrix = documented(
    configurable(_confusion_matrix),
    """Weights of the rows by label and predicted class, [classes, classes].

    Args:
      normalize: "true" divides by the rows of a label, "pred" by those of a prediction, "all" by
        all rows; None, the default, does not divide.
    """,
)
balanced_accuracy = documented(
    configurable(_balanced_accuracy),
    """Mean recall over the classes that have rows.

    Args:
      adjusted: True rescales the value so that chance is 0.
    """,
)
