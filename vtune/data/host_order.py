"""The order of an epoch on the host: the same bits as in the program, for the places asked for."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune import host_memory
from vtune.data.order import by_place, padding_last, permuted_rows
from vtune.rng.bijection import permuted
from vtune.rng.row_words import row_words
from vtune.rng.threefry import IMPL

_KEPT = 4  # epochs of a fold whose places are kept: cohorts may be in several


class HostOrder:
    """The order of the training rows of one fold.

    Args:
      rows: [most], the training rows, padded in folds.
      fold: its number in the keys. size: how many rows are the fold's; None without folds.
    """

    def __init__(self, rows: np.ndarray, fold: int = 0, size: int | None = None):
        self._rows, self._fold, self._size = rows, fold, size
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def at(self, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
        """Returns the rows that stand at some places of an epoch's order."""
        most = len(self._rows)
        size = most if self._size is None else self._size
        if by_place(most):
            return self._rows[permuted(row_words(seed, self._fold, epoch), size, places, np)]
        return self._rows[self._all_places(int(seed), int(epoch))[places]]

    def _all_places(self, seed: int, epoch: int) -> np.ndarray:
        known = self._known.get((seed, epoch))
        if known is None:
            size = None if self._size is None else np.int32(self._size)
            with _on_a_cpu():
                given = jax.device_put((row_words(seed, self._fold, epoch), size))
                known = np.asarray(_shuffled(*given, len(self._rows)))
            host_memory.give_back()  # what compiling and sorting took
            for oldest in list(self._known)[: 1 - _KEPT]:
                self._known.pop(oldest, None)
            self._known[seed, epoch] = known
        return known


@functools.partial(jax.jit, static_argnums=2)
def _shuffled(words: Any, size: Any, most: int) -> Any:
    """Returns all places in the order of an epoch; the one program that reading rows needs."""
    key = jax.random.wrap_key_data(words, impl=IMPL)
    if size is None:
        return permuted_rows(key, jnp.arange(most, dtype=jnp.int32))
    return padding_last(key, most, size)


def _on_a_cpu() -> Any:
    """Returns a context in which JAX computes on a CPU, so that no accelerator is waited for."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX was told to leave it out
        return contextlib.nullcontext()
