"""What classification metrics read: the model's logits, and integer labels `y` of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import targets
from vtune.metrics.select import expand
from vtune.types import Array, Batch, Outputs, Weight, float_dtype


def one_logit(outputs: Any, labels: Any) -> bool:
    """Whether this is binary classification with a single logit: outputs [...] or [..., 1]."""
    return outputs.shape == labels.shape or (
        outputs.shape[-1] == 1 and outputs.shape[:-1] == labels.shape
    )


def is_multilabel(outputs: Any, labels: Any) -> bool:
    """Whether rows have several yes-or-no answers: logits and labels are both [rows, answers]."""
    return labels.ndim == 2 and outputs.shape[1:] == labels.shape[1:] != (1,)


def flat(outputs: Outputs, batch: Batch, weight: Weight) -> tuple[Array, Array, Array]:
    """Returns (logits [rows, classes], labels [rows], weights [rows]) of a batch.

    A single logit z becomes the logits 0 and z. The tokens of a sequence become rows.
    """
    labels = batch["y"]
    if one_logit(outputs, labels):
        z = outputs.reshape(-1)
        logits = jnp.stack([jnp.zeros_like(z), z], axis=-1)
    else:
        logits = outputs.reshape(-1, outputs.shape[-1])
    weights = expand(weight, labels).reshape(-1).astype(float_dtype())
    return logits, labels.reshape(-1).astype(jnp.int32), weights


def check_labels(outputs: Any, arrays: Mapping[str, np.ndarray]) -> int:
    """Returns the number of classes.

    Raises:
      ValueError, TypeError: labels and logits do not go together.
    """
    labels = targets("a classification metric", arrays)
    leaves = jax.tree.leaves(outputs)
    if len(leaves) != 1:
        raise TypeError(
            f"a classification metric needs one array of logits, the model returns {len(leaves)}; "
            "say which: vt.metrics.accuracy(output=...), a name, a position or a function"
        )
    one_hot = labels.ndim > 1 and labels.shape[1:] == leaves[0].shape[1:] and labels.shape[-1] > 1
    if one_hot and np.all(labels.sum(axis=-1) == 1):
        raise TypeError("labels batch['y'] are one-hot; give the classes: y.argmax(axis=-1)")
    if labels.dtype.kind not in "iub":
        raise TypeError(
            f"labels batch['y'] are of type {labels.dtype}; classification metrics need whole "
            "numbers: convert with y.astype('int32')"
        )
    shape, wanted = leaves[0].shape[1:], labels.shape[1:]
    if shape in (wanted, (*wanted, 1)):
        classes = 2
    elif shape[:-1] == wanted:
        classes = shape[-1]
    else:
        raise ValueError(
            f"labels batch['y'] are {list(wanted)} a row and the model's outputs {list(shape)}; "
            f"logits {list(shape)} need labels {list(shape[:-1])}, for example y[:, 0]"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        stray = low if low < 0 else high
        raise ValueError(
            f"labels batch['y'] run from {low} to {high}; a model with {classes} classes needs "
            f"labels 0 to {classes - 1}. If {stray} marks places to leave out, say so: "
            f"vt.metrics.accuracy(ignore={stray})"
        )
    return int(classes)


def checked(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """The `check` of a metric that needs no more than `check_labels`."""
    check_labels(outputs, arrays)
