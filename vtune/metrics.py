"""Metrics computed inside the program: pairs of `measure` and `score`.

Ready to use: `accuracy` and `log_loss` (logits against whole-number labels), `mse`, `rmse` and
`mae`. They compare the model's outputs with the entry `y` of the data. Your own, a mean over the
rows, is a line:

    cosine = vt.metrics.mean(lambda outputs, batch: similarity(outputs, batch["target"]))

`measure(outputs, batch, weight)` gives totals of one evaluation batch, which are summed over
the batches; `score(totals)` makes the value of them, once. `weight` `[batch]` is 0 on padding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.types import Array, Batch, FloatArray, Outputs, Totals, Weight, float_dtype


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of ONE member.

    Args:
      measure: (outputs, batch, weight [batch]) -> totals of one batch, a pytree. Totals are
        summed over the batches; a part wrapped in `vt.Rows` is concatenated instead.
      score: totals -> the value, a scalar (arrays are allowed and kept in the history).
      check: (outputs as shapes, arrays of the data set on the host) -> None; raises ValueError
        or TypeError where the metric cannot be taken. Called once, before compiling.
      mode: "max" where higher is better, else "min"; says which value of a history is its best.
    """

    measure: Callable[[Outputs, Batch, Weight], Totals]
    score: Callable[[Totals], Any]
    check: Callable[[Any, Mapping[str, np.ndarray]], None] | None = None
    mode: str = "max"


def expand(weight: FloatArray[Array, " batch"], like: Array) -> Array:
    """Weights `[batch]` broadcast to `like` `[batch, ...]`."""
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (like.ndim - 1)), like.shape)


def mean(
    value: Callable[[Outputs, Batch], Array],
    *,
    mode: str = "max",
    check: Callable[[Any, Mapping[str, np.ndarray]], None] | None = None,
    root: bool = False,
) -> Metric:
    """The weighted mean of `value(outputs, batch)`, `[batch, ...]`; its root where asked."""

    def measure(outputs: Outputs, batch: Batch, weight: Weight) -> Totals:
        values = value(outputs, batch)
        weights = expand(weight, values).astype(values.dtype)
        # where, not a product alone: padding may be NaN and must not count
        return jnp.sum(jnp.where(weights > 0, values * weights, 0.0)), jnp.sum(weights)

    def score(totals: Totals) -> Array:
        value = totals[0] / totals[1]
        return jnp.sqrt(value) if root else value

    return Metric(measure, score, check, mode)


def _correct(outputs: Outputs, batch: Batch) -> Array:
    labels = batch["y"]
    if _one_logit(outputs, labels):
        predicted = (outputs.reshape(labels.shape) > 0).astype(labels.dtype)
    else:
        predicted = jnp.argmax(outputs, axis=-1)
    return (predicted == labels).astype(float_dtype())


def _log_loss(outputs: Outputs, batch: Batch) -> Array:
    labels = batch["y"]
    if _one_logit(outputs, labels):
        logits = outputs.reshape(labels.shape)
        return jnp.logaddexp(0.0, jnp.where(labels > 0, -logits, logits))
    logp = jax.nn.log_softmax(outputs, axis=-1)
    return -jnp.take_along_axis(logp, labels[..., None], axis=-1)[..., 0]


def _one_logit(outputs: Any, labels: Any) -> bool:
    """Binary classification with a single logit: outputs like the labels, or one wide."""
    return outputs.shape == labels.shape or (
        outputs.shape[-1] == 1 and outputs.shape[:-1] == labels.shape
    )


def _check_labels(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
    labels = _targets("a classification metric", arrays)
    leaves = jax.tree.leaves(outputs)
    if len(leaves) != 1:
        raise TypeError(
            f"a classification metric needs one array of logits, the model returns {len(leaves)}; "
            "write vt.metrics.Metric(measure, score) for it"
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
        raise ValueError(
            f"labels batch['y'] run from {low} to {high}; a model with {classes} classes needs "
            f"labels 0 to {classes - 1}"
        )


def _check_targets(outputs: Any, arrays: Mapping[str, np.ndarray]) -> None:
    target = _targets("a regression metric", arrays)
    for leaf in jax.tree.leaves(outputs):
        if leaf.shape[1:] != target.shape[1:]:
            raise ValueError(
                f"the model's outputs are {list(leaf.shape[1:])} a row and the targets "
                f"batch['y'] {list(target.shape[1:])}; make them alike, for example with "
                "outputs[..., 0] in the model (broadcasting would compare every pair)"
            )


def _targets(who: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if "y" not in arrays:
        raise ValueError(f"{who} reads batch['y']; the data has {sorted(arrays)}")
    return arrays["y"]


def _squared(outputs: Outputs, batch: Batch) -> Array:
    return jnp.square(outputs - batch["y"])


def _absolute(outputs: Outputs, batch: Batch) -> Array:
    return jnp.abs(outputs - batch["y"])


accuracy = mean(_correct, check=_check_labels)
"""Part of the rows whose largest logit is the label's (one logit: its sign). Labels: `y`."""

log_loss = mean(_log_loss, mode="min", check=_check_labels)
"""Mean negative log-likelihood of the label (natural logarithm) under softmax or sigmoid."""

mse = mean(_squared, mode="min", check=_check_targets)
"""Mean squared error of `outputs` against `y`."""

rmse = mean(_squared, mode="min", check=_check_targets, root=True)
"""Root of the mean squared error."""

mae = mean(_absolute, mode="min", check=_check_targets)
"""Mean absolute error."""
