"""Arrays by name as a table: in memory, mapped from a file, of h5py or zarr."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vtune.data.convert import is_numeric
from vtune.data.sources.mapped import mapping_of, take_mapped
from vtune.data.sources.named import reading
from vtune.data.sources.table import Field, in_order

# What has one of these is no plain array: frames, series, tensors, sparse matrices.
_OTHERS = ("iloc", "isna", "columns", "detach", "toarray", "mask")


def is_row_source(value: Any) -> bool:
    """Whether `value` has `shape`, a dtype of numbers, and is read by `value[rows]`."""
    if isinstance(value, jax.Array) or any(hasattr(value, name) for name in _OTHERS):
        return False
    try:
        dtype = np.dtype(value.dtype)
    except Exception:  # no attribute, or a dtype of another library's
        return False
    shape = getattr(value, "shape", None)
    return isinstance(shape, tuple) and len(shape) > 0 and is_numeric(dtype)


class ArrayTable:
    """Arrays `[rows, ...]` by name. Those of a file are read in the order of their rows."""

    by_entry = True

    def __init__(self, arrays: Mapping[str, Any]):
        self._sources = dict(arrays)
        self._readers = {name: _reader(array) for name, array in arrays.items()}
        self.fields = {
            name: Field(tuple(array.shape[1:]), np.dtype(array.dtype))
            for name, array in arrays.items()
        }
        self.rows = int(next(iter(arrays.values())).shape[0])

    def take(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        taken = {}
        for name in names:
            with reading(self._sources[name], name):
                taken[name] = self._readers[name](rows)
        return taken

    def place(self, row: int) -> str:
        return f"row {row}"


def _reader(array: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function that reads rows [n] of an array."""
    if isinstance(array, np.ndarray):
        mapping = mapping_of(array)
        if mapping is None:
            return lambda rows: np.asarray(array[rows])
        return lambda rows: take_mapped(array, mapping, rows)
    chosen = getattr(array, "oindex", array)  # zarr's selection axis by axis
    return lambda rows: in_order(lambda found: np.asarray(_read(array, chosen, found)), rows)


def _read(array: Any, chosen: Any, rows: np.ndarray) -> Any:
    """Reads sorted rows; those that follow each other as a slice, which is faster."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return array[int(rows[0]) : int(rows[-1]) + 1]
    return chosen[rows]
