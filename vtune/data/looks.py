"""What checks look at: all of data in memory, and as much of data on the host as is worth reading.

Entries of small rows, such as labels, weights and ids, are read whole. For others some rows stand.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from vtune.data.convert import native_dtype
from vtune.data.dataset import Data
from vtune.data.host_entry import HostEntry
from vtune.data.precision import loses

SAMPLE = 1024  # rows
_SAMPLE_BYTES = 2**26  # of them together, or some rows fewer
_LEAST = 16

_KNOWN: weakref.WeakKeyDictionary[Data, dict[str, np.ndarray]] = weakref.WeakKeyDictionary()


def held(entry: Any) -> np.ndarray | None:
    """Returns an entry whole; None where it lies on the host and its rows are large."""
    if isinstance(entry, HostEntry):
        return entry.whole() if entry.is_small else None
    return np.asarray(entry)


def rows_of(data: Data, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns rows of all entries, on the host, unscaled where folds are scaled by the program."""
    if data.on_host:
        return data.read(rows)  # type: ignore[attr-defined]
    return {name: np.asarray(array)[rows] for name, array in data.arrays.items()}


def even_rows(count: int, most: int = SAMPLE) -> np.ndarray:
    """Returns at most so many of `count` rows, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def sample_rows(data: Data) -> np.ndarray:
    """Returns rows that train, validate or test, some of each, evenly spaced."""
    of_row = sum(a.dtype.itemsize * int(np.prod(a.shape[1:])) for a in data.arrays.values())
    most = min(SAMPLE, max(_LEAST, _SAMPLE_BYTES // max(of_row, 1)))
    parts = [np.ravel(part) for part in (data.train, data.valid, data.test) if part is not None]
    return np.unique(np.concatenate([part[even_rows(len(part), most)] for part in parts]))


def looked_at(data: Data) -> dict[str, np.ndarray]:
    """Returns rows of all entries: all of data in memory; of data on the host a sample, in which
    each value of a small entry is, up to a thousand, and its least and its largest."""
    if not data.on_host:
        return {name: np.asarray(array) for name, array in data.arrays.items()}
    if data not in _KNOWN:
        rows = [sample_rows(data)]
        for entry in data.arrays.values():
            if entry.is_small:
                rows.append(_showing(entry.whole()))
        _KNOWN[data] = rows_of(data, np.unique(np.concatenate(rows)))
    return _KNOWN[data]


def _showing(values: np.ndarray) -> np.ndarray:
    """Returns rows that have each of the values once, or some of them."""
    _, first = np.unique(values, return_index=True)  # in the order of the values
    return first[even_rows(len(first))] // max(1, values[0].size)


class Loss(NamedTuple):
    """What the cast of an entry takes away, and what its values differ by, [...]."""

    name: str
    dtype: np.dtype
    away: np.ndarray
    spread: np.ndarray


def losses(data: Data) -> Iterator[Loss]:
    """Yields what casts take away of entries that are not scaled."""
    for name, lost in data.remainders.items():
        values = np.asarray(data.arrays[name], np.float64)
        yield _loss(name, data.arrays[name].dtype, values, lost)
    if not data.on_host:
        return
    for name, entry in data.arrays.items():
        given = native_dtype(entry.given)
        if name in data.scaling or not loses(given, jax.dtypes.canonicalize_dtype(given)):
            continue
        values = entry.uncast(sample_rows(data)).astype(np.float64)
        with np.errstate(over="ignore"):
            cast = values.astype(entry.dtype)
        if not np.isfinite(cast).all():
            continue  # whoever reads it for the program names the row
        loss = _loss(name, entry.dtype, values, values - cast)
        yield loss._replace(away=np.where(loss.spread > 0, loss.away, 0.0))


def _loss(name: str, dtype: np.dtype, values: np.ndarray, lost: np.ndarray) -> Loss:
    return Loss(name, dtype, np.abs(lost).max(axis=0), values.max(axis=0) - values.min(axis=0))
