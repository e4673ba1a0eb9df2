"""ROC-AUC: how well rows are ranked. It needs every row at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import Metric, configurable
from vtune.metrics.labels import check_labels, flat
from vtune.metrics.totals import PerRow
from vtune.types import Array, Batch, Outputs, Totals, Weight


def area(score: Array, positive: Array, negative: Array) -> Array:
    """Area under the ROC curve: how often a positive row is above a negative one, ties half.

    Args:
      score: [rows]. positive, negative: [rows] the weight of a row in each class.

    Returns:
      A scalar; NaN where a class has no weight. Hanley and McNeil 1982.
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
    if average not in ("macro", "weighted"):
        raise ValueError(f'roc_auc: average={average!r} must be "macro" or "weighted"')

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        logits, labels, weights = flat(outputs, batch, weight)
        rows, each = batch["y"].shape[0], -1
        keep = lambda a: a.reshape(rows, each, *a.shape[1:])
        logits = jnp.where(weights[:, None] > 0, logits, 0.0)  # padding may be NaN
        return PerRow((keep(logits), keep(labels), keep(weights)))

    def score(totals: Totals) -> Array:
        logits, labels, weights = totals.value
        logits = logits.reshape(-1, logits.shape[-1])
        labels, weights = labels.reshape(-1), weights.reshape(-1)
        classes = logits.shape[-1]
        own = jax.nn.one_hot(labels, classes, dtype=weights.dtype) * weights[:, None]
        if classes == 2:  # the difference ranks as the probability does
            return area(logits[:, 1] - logits[:, 0], own[:, 1], own[:, 0])
        p = jax.nn.softmax(logits, axis=-1)
        share = jnp.sum(own, axis=0)
        if multi_class == "ovr":
            rest = weights[:, None] - own
            areas = jax.vmap(area, in_axes=1)(p, own, rest)
            weight = share if average == "weighted" else jnp.ones_like(share)
        else:
            a, b = np.triu_indices(classes, 1)
            one = jax.vmap(lambda i, j: area(p[:, i], own[:, i], own[:, j]))
            areas = (one(a, b) + one(b, a)) / 2
            weight = share[a] + share[b] if average == "weighted" else jnp.ones_like(areas)
        return jnp.sum(areas * weight) / jnp.sum(weight)

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        classes = check_labels(outputs, arrays)
        if classes > 2 and multi_class is None:
            raise ValueError(
                f"roc_auc is of two classes, the model has {classes}; say how they are compared: "
                'vt.metrics.roc_auc(multi_class="ovr") or "ovo"'
            )

    return Metric(measure, score, check)


roc_auc = configurable(_roc_auc)
"""Area under the ROC curve; NaN where a class has no row. Of more than two classes
multi_class="ovr" (each against the rest) or "ovo" (Hand and Till 2001), average= "macro" or
"weighted"."""
