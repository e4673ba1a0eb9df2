"""ROC-AUC, which measures how well rows are ranked and needs all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, configurable, documented
from vtune.metrics.labels import check_labels, flat, is_multilabel
from vtune.metrics.select import expand
from vtune.metrics.totals import PerRow
from vtune.types import Array, Batch, Outputs, Totals, Weight, at_least_single, float_dtype


def area(score: Array, positive: Array, negative: Array) -> Array:
    """Returns the area under the ROC curve (Hanley and McNeil 1982).

    It is the share of pairs in which the positive row has the higher score; ties count half.

    Args:
      score: [rows]. positive, negative: [rows], the weight of every row in each class.

    Returns:
      A scalar; NaN if a class has no weight.
    """
    order = jnp.argsort(score)
    score, positive, negative = score[order], positive[order], negative[order]
    below = jnp.concatenate([jnp.zeros(1, negative.dtype), jnp.cumsum(negative)])
    strictly = below[jnp.searchsorted(score, score, side="left")]
    at_most = below[jnp.searchsorted(score, score, side="right")]
    wins = jnp.sum(positive * (strictly + at_most) / 2)
    pairs = jnp.sum(positive) * jnp.sum(negative)
    return jnp.where(pairs > 0, wins / jnp.where(pairs > 0, pairs, 1.0), jnp.nan)


def _roc_auc(multi_class: Any = None, *, average: Any = "macro") -> Metric:
    if multi_class not in (None, "ovr", "ovo"):
        raise ValueError(f'roc_auc: multi_class={multi_class!r} must be "ovr" or "ovo"')
    if average not in ("macro", "weighted", "micro"):
        raise ValueError(f'roc_auc: average={average!r} must be "macro", "weighted" or "micro"')

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        if average != "micro" and is_multilabel(outputs, batch["y"]):
            weights = expand(weight, outputs).astype(float_dtype())
            return PerRow((jnp.where(weights > 0, outputs, 0.0), batch["y"] > 0, weights))
        logits, labels, weights = flat(outputs, batch, weight)
        rows = batch["y"].shape[0]
        by_row = lambda a: a.reshape(rows, -1, *a.shape[1:])
        logits = jnp.where(weights[:, None] > 0, logits, 0.0)  # padding may be NaN
        return PerRow((by_row(logits), by_row(labels), by_row(weights)))

    def score(totals: Totals) -> Array:
        logits, labels, weights = totals.value
        if logits.ndim == 2:  # several yes-or-no answers a row
            positive = jnp.where(labels, weights, 0.0)
            areas = jax.vmap(area, in_axes=1)(logits, positive, weights - positive)
            share = jnp.sum(positive, axis=0)
            weight = share if average == "weighted" else jnp.ones_like(share)
            return jnp.sum(areas * weight) / jnp.sum(weight)
        logits = at_least_single(logits.reshape(-1, logits.shape[-1]))  # rounding makes ties
        labels, weights = labels.reshape(-1), weights.reshape(-1)
        classes = logits.shape[-1]
        by_class = jax.nn.one_hot(labels, classes, dtype=weights.dtype) * weights[:, None]
        if classes == 2:  # the difference ranks rows as the probability does
            return area(logits[:, 1] - logits[:, 0], by_class[:, 1], by_class[:, 0])
        p = jax.nn.softmax(logits, axis=-1)
        share = jnp.sum(by_class, axis=0)
        if multi_class == "ovr":
            rest = weights[:, None] - by_class
            areas = jax.vmap(area, in_axes=1)(p, by_class, rest)
            weight = share if average == "weighted" else jnp.ones_like(share)
        else:
            a, b = np.triu_indices(classes, 1)
            pair = jax.vmap(lambda i, j: area(p[:, i], by_class[:, i], by_class[:, j]))
            areas = (pair(a, b) + pair(b, a)) / 2
            weight = share[a] + share[b] if average == "weighted" else jnp.ones_like(areas)
        return jnp.sum(areas * weight) / jnp.sum(weight)

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        classes = check_labels(outputs, arrays)
        if classes > 2 and multi_class is None:
            raise ValueError(
                f"roc_auc is of two classes, the model has {classes}; say how they are compared: "
                'vt.metrics.roc_auc(multi_class="ovr") or "ovo"'
            )
        if average == "micro" and classes > 2:
            raise ValueError('roc_auc: average="micro" is of yes-or-no answers; say "macro"')

    return Metric(measure, score, check, "max")


roc_auc = documented(
    configurable(_roc_auc),
    """Area under the ROC curve (Hanley and McNeil 1982); NaN where a class has no row.

    Args:
      multi_class: for more than two classes "ovr" (each against the rest) or "ovo" (each against
        each; Hand and Till 2001).
      average: over the classes or pairs, "macro" or "weighted". Where a row has several yes-or-no
        answers, labels and logits [rows, answers], over the answers; "micro" takes all answers of
        all rows together.
    """,
)
