"""The order in which an epoch takes the training rows: a shuffle by `row_key`.

There are two rules. Up to `LIMIT` rows are permuted, all at once. More rows are shuffled place by
place (`vtune/rng/bijection.py`), since an epoch of ten million would begin with seconds of sorting:
whoever wants some batches computes theirs alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from vtune.rng.bijection import permuted
from vtune.rng.keys import row_key
from vtune.rng.threefry import bits
from vtune.types import Array, Key
from vtune.xla.ops.rewrite import rewrite

LIMIT = 2_000_000

permuted_rows = jax.jit(rewrite(jax.random.permutation))


def shuffled(seed: Any, epoch: Any, rows: Array) -> Array:
    """Returns the rows in the order of an epoch."""
    return permuted_rows(row_key(seed, 0, epoch), rows)


def shuffled_fold(seed: Any, fold: Any, epoch: Any, rows: Array, size: Any) -> Array:
    """Returns the rows of a fold in the order of an epoch, its padding last.

    Args:
      rows: [most], padded. size: how many of them are the fold's.
    """
    return rows[padding_last(row_key(seed, fold, epoch), rows.shape[0], size)]


def padding_last(key: Key, most: int, size: Any) -> Array:
    """Returns the places [most] of a fold's rows in a shuffle, those of its padding last."""
    drawn = jnp.where(jnp.arange(most) < size, bits(key, (most,)) >> 1, jnp.uint32(2**32 - 1))
    return jnp.argsort(drawn)


def by_place(rows: int) -> bool:
    """Whether so many rows are shuffled place by place."""
    return rows > LIMIT


@jax.jit
def shuffle_words(seed: Any, fold: Any, epoch: Any) -> Array:
    """Returns the key data [2] of a shuffle place by place."""
    return jax.random.key_data(row_key(seed, fold, epoch))


@jax.jit
def rows_at(words: Array, places: Array, rows: Array, size: Any) -> Array:
    """Returns the rows that stand at some places of a shuffle; beyond the last place, its row.

    Args:
      words: as of `shuffle_words`. rows: [most], padded. size: how many of them are shuffled.
    """
    return rows[permuted(words, size, places)]


def cut_out(epoch_rows: Array, first: Array, count: int) -> Array:
    """Returns consecutive batches out of those of an epoch, its last one in place of those beyond.

    Args:
      epoch_rows: [steps, batch] or [folds, steps, batch]. first: a number, or [folds].
    """
    steps = jnp.arange(count)
    if first.ndim == 0:
        return jnp.take(epoch_rows, first + steps, axis=epoch_rows.ndim - 2, mode="clip")
    batches = (first[:, None] + steps[None])[..., None]
    return jnp.take_along_axis(epoch_rows, batches, axis=1, mode="clip")
