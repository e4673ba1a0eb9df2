"""The order in which an epoch takes the training rows: a shuffle by `row_key`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from vtune.rng.keys import row_key
from vtune.rng.threefry import bits
from vtune.types import Array
from vtune.xla.ops.rewrite import rewrite

_permuted = jax.jit(rewrite(jax.random.permutation))


def shuffled(seed: Any, epoch: Any, rows: Array) -> Array:
    """Returns the rows in the order of an epoch."""
    return _permuted(row_key(seed, 0, epoch), rows)


def shuffled_fold(seed: Any, fold: Any, epoch: Any, rows: Array, size: Any) -> Array:
    """Returns the rows of a fold in the order of an epoch, its padding last.

    Args:
      rows: [most], padded. size: how many of them are the fold's.
    """
    most = rows.shape[0]
    drawn = bits(row_key(seed, fold, epoch), (most,)) >> 1
    padding_last = jnp.where(jnp.arange(most) < size, drawn, jnp.uint32(2**32 - 1))
    return rows[jnp.argsort(padding_last)]
