"""The loss, penalty and metrics of one batch, and its augmentation.

Pure functions of one member's outputs or weights and of one batch; every call of a user's function
is noted on the error if it fails, and what it returns is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vtune.hparams import Hparams
from vtune.learner.calling import calling
from vtune.learner.check_loss import differentiable, warn_flat
from vtune.learner.contracts import per_example, taken
from vtune.learner.parts import Parts
from vtune.metrics import Metric, expand
from vtune.metrics.totals import check_rows, is_rows
from vtune.returned import ReturnedError, check_arrays, check_pairs, described, real
from vtune.rng.keys import augment_key
from vtune.types import Array, Batch, Key, Outputs, PyTree, Totals, Weight, at_least_single
from vtune.xla.ops.rewrite import rewrite


def loss_totals(
    parts: Parts, outputs: Outputs, batch: Batch, h: Hparams, weight: Weight
) -> tuple[Array, Array]:
    """Returns (weighted sum of the loss, sum of the weights) of a batch; see `mean_loss`.

    Args:
      weight: [batch] 0 on padding.
    """
    if parts.batch_loss is not None:
        return _batch_loss_totals(parts.batch_loss, outputs, batch, h, weight)
    return _loss_totals(parts, outputs, batch, h, weight)[:2]


def batch_mean(parts: Parts, outputs: Outputs, batch: Batch, h: Hparams, weight: Weight) -> Array:
    """Returns the mean of the loss over a training batch; 0 where all weights of `loss` are 0."""
    mean = lambda outputs: _batch_mean(parts, outputs, batch, h, weight)
    value = mean(outputs)
    if parts.penalty is None:
        warn_flat("loss" if parts.batch_loss is None else "batch_loss", mean, outputs)
    return value


def _batch_mean(parts: Parts, outputs: Outputs, batch: Batch, h: Hparams, weight: Weight) -> Array:
    if parts.batch_loss is not None:
        total, count = _batch_loss_totals(parts.batch_loss, outputs, batch, h, weight)
        return total / count
    total, count, weighted = _loss_totals(parts, outputs, batch, h, weight)
    return mean_loss(total, count) if weighted else total / count


def mean_loss(total: Array, count: Array) -> Array:
    """Returns the weighted mean of a loss; 0, without a gradient, where there is no weight."""
    return total / jnp.where(count != 0, count, 1)


def _loss_totals(
    parts: Parts, outputs: Outputs, batch: Batch, h: Hparams, weight: Weight
) -> tuple[Array, Array, bool]:
    """Returns the totals of `loss`, and whether it gave weights of its own."""
    rows = weight.shape[0]
    loss = lambda outputs, batch: parts.loss(own(outputs), own(batch), h)
    with calling("loss", outputs=outputs, batch=batch, h=h):
        result = loss(outputs, batch)
    values, weights, weighted = per_example(result, rows)
    values_of = lambda *given: jnp.asarray(loss(*given)[0] if weighted else loss(*given))
    check_pairs("loss", values_of, (outputs, batch), values, rows)
    weights = weights * expand(weight, weights).astype(weights.dtype)
    total = jnp.sum(jnp.where(weights != 0, values * weights, 0.0))
    return total, jnp.sum(weights), weighted


def row_weights(
    parts: Parts, h: Hparams, outputs: Outputs, batch: Batch, train: bool
) -> dict[str, Array]:
    """Returns by name how much every row counts; see `Learner.weights`.

    Of training nothing is known where `augment` may change the batch.
    """
    if train and parts.augment is not None:
        return {}
    rows, weights = jax.tree.leaves(batch)[0].shape[0], {}
    result = None if parts.loss is None else parts.loss(own(outputs), own(batch), h)
    if isinstance(result, tuple):
        weights["loss"] = per_example(result, rows)[1]
    argument = "train_metrics" if train else "metrics"
    for name, metric in getattr(parts, argument).items():
        chosen = getattr(metric, "selected", None)
        if chosen is not None and chosen.weighs:
            counts = chosen.of_batch(outputs, batch, jnp.ones(rows))[2]
            weights[f"{argument}[{name!r}]"] = counts
    return weights


def own(tree: PyTree) -> PyTree:
    """Returns the same leaves in containers of their own, which a user's function may change."""
    return jax.tree.map(lambda leaf: leaf, tree)


def _batch_loss_totals(
    batch_loss: Callable[..., Any], outputs: Outputs, batch: Batch, h: Hparams, weight: Weight
) -> tuple[Array, Array]:
    """Returns the totals of a loss of the whole batch, which counts by its rows with a weight.

    Such a loss cannot leave rows out. An evaluation batch has as many rows as any other, and no row
    twice: see `Learner.whole_batches`.
    """
    with calling("batch_loss", outputs=outputs, batch=batch, h=h):
        result = batch_loss(own(outputs), own(batch), h)
    value = differentiable("batch_loss", result, "one value for the whole batch")
    if value.shape != ():
        raise ValueError(
            f"batch_loss returned shape {list(value.shape)}, not one value for the whole "
            "batch; a loss per example goes into loss="
        )
    value = at_least_single(value)  # bfloat16 has no 1,003 rows
    rows = jnp.sum(weight).astype(value.dtype)
    return jnp.where(rows > 0, value * rows, 0.0), rows


def penalised(parts: Parts, value: Array, params: PyTree, h: Hparams, frozen: PyTree) -> Array:
    """Adds the penalty of the weights, if there is one, to a training loss.

    Args:
      frozen: the weights that are not trained, for a penalty that takes `frozen`.
    """
    if parts.penalty is None:
        return value
    offered = taken(parts.penalty, {}, {"frozen": own(frozen)})
    with calling("penalty", params=params, h=h, **offered):
        penalty = parts.penalty(own(params), h, **offered)
    penalty = real("penalty", penalty, "one real number, the sum over all weights")
    if penalty.shape != ():
        raise ValueError(f"penalty returned shape {list(penalty.shape)}, not a scalar; sum it up")
    return value + penalty


def metric_totals(
    argument: str, metrics: Mapping[str, Metric], outputs: Outputs, batch: Batch, weight: Weight
) -> dict[str, Totals]:
    """Returns the totals of every metric for one batch, by name.

    Args:
      argument: `metrics` or `train_metrics`, for what is noted on an error.
    """
    totals = {}
    for name, metric in metrics.items():
        who = f"{argument}[{name!r}].measure"
        with calling(who, outputs=outputs, batch=batch, weight=weight):
            totals[name] = metric.measure(own(outputs), own(batch), weight)
        check_arrays(who, totals[name], "totals of the batch")
        check_rows(who, totals[name], weight.shape[0])
    return totals


def scores(
    argument: str, metrics: Mapping[str, Metric], totals: Mapping[str, Totals]
) -> dict[str, Array]:
    """Returns the value of every metric by name, from its totals; see `metric_totals`."""
    values = {}
    for name, metric in metrics.items():
        who = f"{argument}[{name!r}].score"
        with calling(who, totals=totals[name]):
            value = metric.score(totals[name])
        values[name] = real(who, value, "a real number")
    return values


def check_summable(totals: Mapping[str, Totals]) -> None:
    """Raises TypeError for metrics of training batches that keep every row apart."""
    for name, total in totals.items():
        if any(map(is_rows, jax.tree.leaves(total, is_leaf=is_rows))):
            raise TypeError(
                f"train_metrics[{name!r}] needs every row at once, but training sums batch by "
                "batch; record it on the validation rows: metrics={...}"
            )


def _is_cut(before: Any, after: Any) -> bool:
    """Whether an entry of real numbers became one of whole numbers."""
    real = all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(before))
    return real and any(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(after))


def augmented(parts: Parts, key: Key, h: Hparams, batch: Batch) -> Batch:
    """Returns the batch as `augment` changes it in one training step of one member."""
    if parts.augment is None:
        return batch

    def change(key: Key, batch: Batch) -> Batch:
        with calling("augment", batch=batch, h=h):
            changed = parts.augment(key, own(batch), h)
        if not isinstance(changed, Mapping) or not set(batch) <= set(changed):
            raise ReturnedError(
                f"augment returned {described(changed)}; return the whole batch, a dict with "
                f'{sorted(batch)}: {{**batch, "x": changed}}'
            )
        for name, entry in changed.items():
            check_arrays("augment", entry, "the whole batch, of arrays", f" as {name!r}")
            if name in batch and _is_cut(batch[name], entry):
                raise ReturnedError(
                    f"augment changed {name!r} from {described(batch[name])} to "
                    f"{described(entry)}, which cuts its values in training only; do it in the data"
                )
        return dict(changed)

    return rewrite(change, parts.rewrite)(augment_key(key), batch)
