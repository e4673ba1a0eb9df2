"""Data in folds, made of pairs of training and validation rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vtune.data.folds import Folds
from vtune.data.host_arrays import HostArrays, row_dtype
from vtune.data.host_data import HostFolds
from vtune.data.own import CheckedArrays, on_device


def folds_of(arrays: Mapping[str, Any], pairs: Iterable[Any]) -> Folds:
    """Returns the folds given by pairs of (training rows, validation rows).

    Args:
      arrays: as `check_arrays` returns them.

    Raises:
      TypeError, ValueError: as `kfold`, for the pairs.
    """
    rows = len(next(iter(arrays.values())))
    checked = [_checked_pair(number, pair, rows) for number, pair in enumerate(pairs)]
    if not checked:
        raise ValueError("kfold: no folds; give pairs such as [(train rows, valid rows), ...]")
    train, valid = zip(*checked, strict=True)
    return folds_from_rows(arrays, train, valid)


def folds_from_rows(
    arrays: Mapping[str, Any],
    train: Sequence[np.ndarray],
    valid: Sequence[np.ndarray],
    common: bool = False,
) -> Folds:
    """Returns the folds of these rows, by fold, without checking them."""
    sizes = tuple(map(len, train)), tuple(map(len, valid))
    if isinstance(arrays, HostArrays):
        dtype = row_dtype(arrays)
        rows = _padded(train, dtype), _padded(valid, dtype)
        return HostFolds(arrays, *rows, *sizes, common=common, columns=arrays.columns)
    checked = arrays if isinstance(arrays, CheckedArrays) else CheckedArrays(arrays)
    return Folds(
        on_device(checked),
        jax.device_put(_padded(train)),
        jax.device_put(_padded(valid)),
        *sizes,
        remainders=checked.remainders(),
        common=common,
        columns=checked.columns,
    )


def _padded(parts: Sequence[np.ndarray], dtype: Any = np.int32) -> np.ndarray:
    """Returns the indices of every fold [folds, most], padded with the fold's first one."""
    padded = np.empty((len(parts), max(map(len, parts))), dtype)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)], row[len(part) :] = part, part[0]
    return padded


def _checked_pair(number: int, pair: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        train, valid = (np.asarray(part) for part in pair)
    except (TypeError, ValueError):
        raise TypeError(
            f"kfold: fold {number} is {type(pair).__name__}, not (training rows, validation rows)"
        ) from None
    for name, part in (("training", train), ("validation", valid)):
        if part.shape == (0,):
            raise ValueError(f"kfold: fold {number} has no {name} rows")
        if part.ndim != 1 or part.dtype.kind not in "iu":
            raise TypeError(
                f"kfold: fold {number}: {name} rows are {part.dtype}{list(part.shape)}; give "
                "indices [rows], whole numbers"
            )
        if part.min() < 0 or part.max() >= rows:
            raise ValueError(
                f"kfold: fold {number}: {name} rows go from {part.min()} to {part.max()}; there "
                f"are rows 0 to {rows - 1}"
            )
    trains = np.zeros(rows, bool)
    trains[train] = True
    both = np.unique(valid[trains[valid]])
    if len(both):
        raise ValueError(
            f"kfold: fold {number} trains on {len(both)} of the rows it validates on, such as "
            f"row {both[0]}"
        )
    return train, valid
