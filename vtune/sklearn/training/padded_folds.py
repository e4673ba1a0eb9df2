"""Folds padded to fixed capacities.

Their true sizes are program arguments, so one executable serves any folds that fit. A fold without
training rows is empty: nothing is trained there, and its scores mean nothing.
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

    Make one with `padded_folds`. A round is one or more whole epochs.

    Attributes:
      train_sizes, valid_sizes: [folds] int32, 0 for an empty fold.
    """

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        held = (self.arrays, self.train, self.valid, self.train_sizes, self.valid_sizes)
        return held, self.common

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> PaddedFolds:
        make: Any = cls
        return make(*children, common=aux)

    @property
    def folds(self) -> int:
        """The capacity for folds, empty ones included."""
        return self.train.shape[0]

    @property
    def train_rows(self) -> int:
        """The capacity for training rows per fold."""
        return self.train.shape[1]

    @property
    def valid_rows(self) -> int:
        """The capacity for validation rows per fold."""
        return self.valid.shape[1]

    @property
    def traced_sizes(self) -> Any:
        """[folds] the training rows of every fold, a program argument."""
        return self.train_sizes

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the full batches per epoch of a fold that fills its capacity."""
        return self.train_rows // batch_size

    def steps_by_fold(self, batch_size: int) -> Any:
        """Returns the full batches per epoch of every fold, [folds], traced."""
        return lax.div(jnp.asarray(self.train_sizes), jnp.int32(batch_size))

    def traced_lengths(self, batch_size: int, epochs: int) -> dict[str, np.int32]:
        """Returns `steps_per_epoch` and `total_steps` of a fold that fills its capacity."""
        steps = np.int32(self.steps_per_epoch(batch_size))
        return {"steps_per_epoch": steps, "total_steps": steps * np.int32(epochs)}

    def refilled(
        self, arrays: Mapping[str, np.ndarray], train: RowIndices, valid: RowIndices
    ) -> PaddedFolds | None:
        """Returns other arrays and folds padded to the same capacities; None if they do not fit."""
        if _row_types(arrays) != _row_types(self.arrays):
            return None
        rows = {name: len(array) for name, array in self.arrays.items()}
        fits = (
            all(len(array) <= rows[name] for name, array in arrays.items())
            and len(train) <= self.folds
            and max(map(len, train)) <= self.train_rows
            and max(map(len, valid)) <= self.valid_rows
        )
        if not fits:
            return None
        sizes = (self.folds, self.train_rows, self.valid_rows)
        return _padded(arrays, train, valid, rows, sizes, self.common)


def _row_types(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: (array.shape[1:], array.dtype) for name, array in arrays.items()}


def padded_folds(
    arrays: Mapping[str, np.ndarray],
    train: RowIndices,
    valid: RowIndices,
    train_rows: int,
    common: bool,
) -> PaddedFolds:
    """Pads folds of checked rows, with a capacity of `train_rows` training rows per fold.

    Args:
      common: see `Folds`.
    """
    rows = {name: len(array) for name, array in arrays.items()}
    sizes = (len(train), train_rows, max(map(len, valid)))
    return _padded(arrays, train, valid, rows, sizes, common)


def _padded(
    arrays: Mapping[str, np.ndarray],
    train: RowIndices,
    valid: RowIndices,
    rows: Mapping[str, int],
    capacity: tuple[int, int, int],
    common: bool,
) -> PaddedFolds:
    """Pads arrays to `rows`, indices to [folds, train_rows] and [folds, valid_rows], with zeros.

    Args:
      capacity: folds, train_rows, valid_rows.
    """
    folds, train_rows, valid_rows = capacity
    sizes: Any = [
        np.array([*map(len, part), *[0] * (folds - len(part))], np.int32) for part in (train, valid)
    ]
    indices = [np.zeros((folds, most), np.int32) for most in (train_rows, valid_rows)]
    for padded, rows_of in zip(indices, (train, valid), strict=True):
        for fold, part in enumerate(rows_of):
            padded[fold, : len(part)] = part
    on_device = {}
    for name, array in arrays.items():
        padding = np.zeros((rows[name] - len(array), *array.shape[1:]), array.dtype)
        longer = np.append(array, padding, axis=0) if len(padding) else array
        on_device[name] = jax.device_put(longer)
    train_sizes, valid_sizes = sizes
    train_index, valid_index = indices
    return PaddedFolds(on_device, train_index, valid_index, train_sizes, valid_sizes, common=common)
