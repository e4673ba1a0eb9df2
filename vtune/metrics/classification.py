"""Classification metrics that are means over the rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.callers import users_line
from vtune.metrics.base import Metric, configurable, documented, mean
from vtune.metrics.labels import checked, one_logit
from vtune.types import Array, Batch, Outputs, at_least_single, float_dtype
from vtune.validation import check_count


def _correct(outputs: Outputs, batch: Batch) -> Array:
    labels = batch["y"]
    if one_logit(outputs, labels):
        predicted = (outputs.reshape(labels.shape) > 0).astype(labels.dtype)
    else:
        predicted = jnp.argmax(outputs, axis=-1)
    return (predicted == labels).astype(float_dtype())


def _log_loss(outputs: Outputs, batch: Batch) -> Array:
    labels = jnp.asarray(batch["y"], jnp.int32)
    outputs = at_least_single(outputs)
    if one_logit(outputs, labels):
        logits = outputs.reshape(labels.shape)
        return jnp.logaddexp(0.0, jnp.where(labels > 0, -logits, logits))
    logp = jax.nn.log_softmax(outputs, axis=-1)
    return -jnp.take_along_axis(logp, labels[..., None], axis=-1)[..., 0]


def _top_k_accuracy(k: Any = 2) -> Metric:
    check_count("top_k_accuracy: k", k)
    k = min(int(k), 2**31 - 1)  # compared in 32 bits

    def check(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
        checked(outputs, arrays)
        classes = max(outputs.shape[-1], 2) if outputs.ndim > 1 else 2  # of a lone logit
        if k >= classes:
            warnings.warn(
                f"top_k_accuracy(k={k}) is 1 for everybody, since there are {classes} classes; "
                f"give k={classes - 1} or less",
                stacklevel=users_line(),
            )

    def hit(outputs: Outputs, batch: Batch) -> Array:
        labels = jnp.asarray(batch["y"], jnp.int32)
        if one_logit(outputs, labels):
            z = outputs.reshape(labels.shape)
            outputs = jnp.stack([jnp.zeros_like(z), z], axis=-1)
        logit = jnp.take_along_axis(outputs, labels[..., None], axis=-1)  # of the label
        classes = jax.lax.broadcasted_iota(jnp.int32, outputs.shape, outputs.ndim - 1)
        # Among equal logits the later class ranks first, as in scikit-learn.
        later = classes > labels[..., None].astype(classes.dtype)
        before = (outputs > logit) | ((outputs == logit) & later)
        hits = (jnp.sum(before, axis=-1) < k) & ~jnp.isnan(logit[..., 0])
        return hits.astype(float_dtype())

    return mean(hit, mode="max", check=check)


accuracy = documented(
    mean(_correct, mode="max", check=checked),
    """Share of the rows whose largest logit is that of the label `y`.

    A single logit is above 0 for class 1.
    """,
)
log_loss = documented(
    mean(_log_loss, mode="min", check=checked),
    "Mean negative log-likelihood of the label under softmax or sigmoid, in nats.",
)
top_k_accuracy = documented(
    configurable(_top_k_accuracy),
    """Share of the rows whose label is among the `k` largest logits.

    Args:
      k: 1 or more, by default 2.
    """,
)
