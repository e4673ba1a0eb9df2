"""Folds padded to fixed capacities. Their true sizes are program arguments, so one executable
serves any folds that fit.

A fold without training rows is empty. Nothing is trained there, and its scores mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.data.folds import Folds

RowIndices = Sequence[np.ndarray]  # by fold


@jax.tree_util.register_pytree_node_class
class PaddedFolds(Folds):
    """Folds of any sizes up to a capacity.

    Make one with `padded_folds`. Rounds begin with an epoch.

    Attributes:
      train_sizes, valid_sizes: [folds] int32, 0 where a fold is empty.
      smallest: int32, the training rows of the smallest fold that is not empty.
    """

    def __init__(self, *parts: Any):
        super().__init__(*parts[:5])
        self.smallest = parts[5]

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        held = (self.arrays, self.train, self.valid, self.train_sizes, self.valid_sizes)
        return (*held, self.smallest), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> PaddedFolds:
        return cls(*children)

    @property
    def folds(self) -> int:
        """Capacity: how many folds fit, empty ones included."""
        return self.train.shape[0]

    @property
    def train_rows(self) -> int:
        """Capacity: training rows of a fold at most."""
        return self.train.shape[1]

    @property
    def valid_rows(self) -> int:
        """Capacity: validation rows of a fold at most."""
        return self.valid.shape[1]

    @property
    def traced_sizes(self) -> Any:
        """[folds] training rows of every fold, an argument of the program."""
        return self.train_sizes

    def steps_per_epoch(self, batch_size: int) -> Any:
        """Full batches in an epoch, as a traced integer."""
        return lax.div(self.smallest, jnp.int32(batch_size))

    def traced_lengths(self, batch_size: int, epochs: int) -> dict[str, np.int32]:
        """`steps_per_epoch` and `total_steps` by the names that members read them under."""
        steps = np.int32(self.smallest // batch_size)
        return {"steps_per_epoch": steps, "total_steps": steps * np.int32(epochs)}

    def refilled(
        self, arrays: Mapping[str, np.ndarray], train: RowIndices, valid: RowIndices
    ) -> PaddedFolds | None:
        """Other arrays and folds padded to the same capacities; None where they do not fit."""
        own = {name: (a.shape[1:], a.dtype) for name, a in self.arrays.items()}
        if own != {name: (a.shape[1:], a.dtype) for name, a in arrays.items()}:
            return None
        rows = {name: len(a) for name, a in self.arrays.items()}
        room = (rows, self.folds, self.train_rows, self.valid_rows)
        if any(
            there < asked
            for there, asked in (
                *((rows[name], len(a)) for name, a in arrays.items()),
                (self.folds, len(train)),
                (self.train_rows, max(map(len, train))),
                (self.valid_rows, max(map(len, valid))),
            )
        ):
            return None
        return _padded(arrays, train, valid, *room)


def padded_folds(
    arrays: Mapping[str, np.ndarray], train: RowIndices, valid: RowIndices, most: int
) -> PaddedFolds:
    """Pads folds of checked rows, with a capacity of `most` training rows a fold."""
    rows = {name: len(array) for name, array in arrays.items()}
    return _padded(arrays, train, valid, rows, len(train), most, max(map(len, valid)))


def _padded(
    arrays: Mapping[str, np.ndarray],
    train: RowIndices,
    valid: RowIndices,
    rows: Mapping[str, int],
    folds: int,
    train_rows: int,
    valid_rows: int,
) -> PaddedFolds:
    """Fills everything up with zeros."""
    sizes = [
        np.array([*map(len, part), *[0] * (folds - len(part))], np.int32) for part in (train, valid)
    ]
    index = [np.zeros((folds, most), np.int32) for most in (train_rows, valid_rows)]
    for whole, parts in zip(index, (train, valid), strict=True):
        for fold, part in enumerate(parts):
            whole[fold, : len(part)] = part
    held = {}
    for name, array in arrays.items():
        empty = np.zeros((rows[name] - len(array), *array.shape[1:]), array.dtype)
        held[name] = jax.device_put(np.append(array, empty, axis=0) if len(empty) else array)
    return PaddedFolds(held, *index, *sizes, sizes[0][: len(train)].min())
