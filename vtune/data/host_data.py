"""Data that stay on the host: whoever trains asks for the rows of the coming steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.convert import native_dtype
from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.data.host_entry import HostEntry
from vtune.data.host_order import HostOrder
from vtune.data.precision import is_far, loses
from vtune.data.statistics import statistics
from vtune.data.window import Window, window_of
from vtune.rng.keys import check_seed


class OnHost(Data):
    """What all data on the host have. Their `arrays` are `HostEntry`s of one table, and the numbers
    of their rows are NumPy arrays."""

    on_host = True
    arrays: dict[str, HostEntry]
    _orders: list[HostOrder]

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        return window_of(self, 1).tree_flatten()  # what enters a program in their place

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> Any:
        return Window.tree_unflatten(aux, children)

    def entries(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shape of one row of every entry, and its dtype as the program gets it."""
        return {
            name: jax.ShapeDtypeStruct(entry.shape[1:], entry.dtype)
            for name, entry in self.arrays.items()
        }

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Reads rows of every entry; the results have the leading axes of `rows`.

        Raises:
          ValueError: numbers are NaN, infinite, or beyond the dtype in which JAX holds them.
          Exception: whatever the source raises.
        """
        rows = np.asarray(rows)
        flat = rows.reshape(-1)
        table = next(iter(self.arrays.values())).table
        given = table.take(flat, list(self.arrays))
        return {
            name: entry.prepared(given[name], flat).reshape(*rows.shape, *entry.shape[1:])
            for name, entry in self.arrays.items()
        }

    def read_first(self, count: int) -> dict[str, np.ndarray]:
        """Reads the first training rows in stored order, [count, ...], or [folds, count, ...]."""
        return self.read(self.train[..., :count])

    def read_training(
        self, seed: int, epoch: Any, first: Any, count: int, batch_size: int
    ) -> dict[str, np.ndarray]:
        """Reads consecutive batches of an epoch, [count * batch_size, ...]; in folds [folds, ...].

        The epoch's last batch stands for those beyond it.

        Args:
          epoch: counted from 0. first: the number of the first batch. In folds both are [folds].
        """
        last = self.steps_per_epoch(batch_size) - 1
        steps = np.minimum(np.add.outer(np.asarray(first), np.arange(count)), last)
        places = np.add.outer(steps * batch_size, np.arange(batch_size))
        return self.read(self._ordered(seed, epoch, places.reshape(*np.shape(first), -1)))

    def read_validation(self, first: int, count: int, size: int) -> dict[str, np.ndarray]:
        """Reads consecutive batches of validation rows, [count * size, ...]; in folds [folds, ...].

        The last one is filled up with the first rows, as by `evaluation`.
        """
        return self.read(self._validation_rows(np.arange(first * size, (first + count) * size)))

    def position(self) -> Any:
        """Returns where the source stands, as JSON; None, since rows depend on seed and epoch."""
        return None

    def go_to(self, position: Any) -> None:
        """Goes to where `position` was."""
        del position

    def order(self, seed: Any, epoch: Any) -> Any:
        check_seed("rows", seed)
        places = np.arange(self.train.shape[-1])
        return self._ordered(seed, epoch, np.broadcast_to(places, self.train.shape))

    def _ordered(self, seed: Any, epoch: Any, places: np.ndarray) -> np.ndarray:
        """Returns the training rows at some places of an epoch's order, in folds of each fold."""
        return self._orders[0].at(seed, epoch, places)

    def _validation_rows(self, positions: np.ndarray) -> np.ndarray:
        return self.valid[positions % self.valid_rows]

    def _gathered(self, rows: Any) -> dict[str, Any]:
        return self.read(rows)

    def _index(self, rows: np.ndarray) -> Any:
        return np.asarray(rows, self.train.dtype)

    def _entry(self, name: str) -> HostEntry:
        """Returns an entry that reads with its remainders where data in memory would keep them."""
        entry = self.arrays[name]
        kept = jax.dtypes.canonicalize_dtype(native_dtype(entry.given))
        if not loses(native_dtype(entry.given), kept):
            return entry
        read = lambda rows: entry.uncast(rows).astype(np.float64)
        (found,) = statistics(read, entry.shape, [self._deciding_rows()])
        return dataclasses.replace(entry, remainders=bool(is_far(found).any()))

    def _deciding_rows(self) -> np.ndarray:
        return self.train


@jax.tree_util.register_pytree_node_class
class HostData(OnHost):
    """`vt.Data` whose rows are read when they are needed, wherever they lie."""

    def __init__(
        self,
        arrays: dict[str, HostEntry],
        train: np.ndarray,
        valid: np.ndarray,
        columns: Mapping[str, tuple[str, ...]] | None = None,
    ):
        super().__init__(dict(arrays), train, valid, columns=columns)
        self._orders = [HostOrder(train)]

    def __repr__(self) -> str:
        return super().__repr__().replace("Data(", "Data(on the host; ", 1)


@jax.tree_util.register_pytree_node_class
class HostFolds(OnHost, Folds):
    """`vt.Folds` whose rows are read when they are needed, wherever they lie."""

    def __init__(
        self,
        arrays: dict[str, HostEntry],
        train: np.ndarray,
        valid: np.ndarray,
        train_sizes: tuple[int, ...],
        valid_sizes: tuple[int, ...],
        common: bool = False,
        columns: Mapping[str, tuple[str, ...]] | None = None,
    ):
        Folds.__init__(
            self,
            dict(arrays),
            train,
            valid,
            train_sizes,
            valid_sizes,
            common=common,
            columns=columns,
        )
        self._orders = [
            HostOrder(rows, 0 if common else number, size)
            for number, (rows, size) in enumerate(zip(train, train_sizes, strict=True))
        ]

    def _ordered(self, seed: Any, epoch: Any, places: np.ndarray) -> np.ndarray:
        epochs = np.broadcast_to(epoch, self.folds)
        own = zip(self._orders, epochs.tolist(), places, strict=True)
        return np.stack([order.at(seed, epoch, at) for order, epoch, at in own])

    def _validation_rows(self, positions: np.ndarray) -> np.ndarray:
        sizes = np.maximum(np.asarray(self.valid_sizes)[:, None], 1)
        return np.take_along_axis(self.valid, positions[None] % sizes, axis=1)

    def _deciding_rows(self) -> np.ndarray:
        return np.arange(len(next(iter(self.arrays.values()))))

    def __repr__(self) -> str:
        return super().__repr__().replace("Folds(", "Folds(on the host; ", 1)
