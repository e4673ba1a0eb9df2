"""Batch statistics of weights that were not trained by themselves, such as averaged ones.

BatchNorm keeps running averages of the means and variances of the batches that the trained weights
saw. For others they are the plain mean over some batches, whatever the layer's own momentum, as in
PyTorch's `torch.optim.swa_utils.update_bn`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.callers import users_line
from vtune.types import Array, PyTree
from vtune.xla.jaxpr import evaluate
from vtune.xla.sources import sources

Path = tuple[str, ...]


def running(paths: Iterable[Path]) -> list[Path]:
    """Returns the paths of running means and variances; other layers keep other things there."""
    return [path for path in paths if path[-1] in ("mean", "var")]


def warn_none(paths: list[Path]) -> None:
    """Warns of a model without running means and variances."""
    if not paths:
        warnings.warn(
            "recompute_statistics= changes nothing: the model has no means and variances of "
            "batches, as BatchNorm has",
            stacklevel=users_line(),
        )


def of_batch(
    after: Callable[[PyTree], PyTree], other: PyTree, paths: Iterable[Path]
) -> dict[Path, Array]:
    """Returns the means and variances of one batch, by path.

    A layer returns momentum * old + (1 - momentum) * those of the batch, so two old values show
    both. The model runs once: its outputs in training do not depend on the old ones, unless these
    are frozen, which are left out.

    Args:
      after: (other) -> other as one training step on the batch leaves it.
      other: nested dicts of variables. paths: of the statistics in them.
    """
    flat, paths = flatten_dict(other, keep_empty_nodes=True), list(paths)

    def updated(*statistics: Array) -> list[Array]:
        given = dict(zip(paths, statistics, strict=True))
        new = flatten_dict(after(unflatten_dict({**flat, **given})))
        return [new[path] for path in paths]

    old = [flat[path] for path in paths]
    traced = jax.make_jaxpr(updated)(*old)
    moving = [i for i, source in enumerate(sources(traced)) if source.same != i]
    if not moving:
        return {}

    def moved(statistics: list[Array]) -> list[Array]:
        given = dict(zip(moving, statistics, strict=True))
        results = evaluate(traced, [given.get(i, leaf) for i, leaf in enumerate(old)])
        return [results[i] for i in moving]

    before = [old[i] for i in moving]
    pairs = [jnp.stack([leaf, leaf + abs(leaf) + 1]) for leaf in before]
    results = jax.vmap(moved)(pairs)
    return {paths[i]: _own(*values) for i, *values in zip(moving, pairs, results, strict=True)}


def _own(old: Array, new: Array) -> Array:
    """Returns a batch's own statistics of a layer that makes `new` of `old`, both [2, ...]."""
    momentum = (new[1] - new[0]) / (old[1] - old[0])
    share = 1 - momentum
    learns = share > 8 * jnp.finfo(share.dtype).eps  # a momentum of 1 keeps the old ones
    return jnp.where(learns, (new[0] - momentum * old[0]) / jnp.where(learns, share, 1), old[0])


def mean_with(other: PyTree, fresh: dict[Path, Array], number: Array) -> PyTree:
    """Returns the variables with the mean over batches 0 ... `number`.

    Args:
      other: with the mean over the batches before. fresh: the statistics of batch `number`.
    """
    flat = flatten_dict(other, keep_empty_nodes=True)
    for path, values in fresh.items():
        mean = flat[path]
        share = 1 / (number + 1).astype(mean.dtype)
        flat[path] = (mean + (values.astype(mean.dtype) - mean) * share).astype(mean.dtype)
    return unflatten_dict(flat)
