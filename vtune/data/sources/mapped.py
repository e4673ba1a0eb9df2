"""Rows of arrays that are mapped from a file, without keeping the file's pages in memory.

A page that was read counts as memory of the process until the system takes it back, and with it the
pages around, which are mapped too. So they are given back after each part of a read; the system
keeps them in its cache where it can.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from vtune.data.own import aligned_empty

_HELD = 2**23  # bytes of pages that a read may hold
_AROUND = 2**16  # bytes that Linux maps around a page that was asked for


def mapping_of(array: np.ndarray) -> mmap.mmap | None:
    """Returns the mapping in which an array lies; None where its pages cannot be given back.

    Such are those of mode "c": what is written into them is in no file.
    """
    base: object = array
    shared = False
    while isinstance(base, np.ndarray):
        shared = shared or (isinstance(base, np.memmap) and base.mode in ("r", "r+", "w+"))
        base = base.base
    can = hasattr(mmap.mmap, "madvise") and hasattr(mmap, "MADV_DONTNEED")
    return base if shared and can and isinstance(base, mmap.mmap) else None


def take_mapped(array: np.ndarray, mapping: mmap.mmap, rows: np.ndarray) -> np.ndarray:
    """Reads rows [n] of a mapped array."""
    order = np.argsort(rows, kind="stable")
    taken = aligned_empty((len(rows), *array.shape[1:]), array.dtype)
    for part in _parts(array, rows[order]):
        taken[order[part]] = array[rows[order[part]]]
        mapping.madvise(mmap.MADV_DONTNEED)
    return taken


def _parts(array: np.ndarray, rows: np.ndarray) -> Iterator[slice]:
    """Cuts sorted rows into parts that touch at most `_HELD` bytes of pages, or one row each."""
    whole = array[:1].flags.c_contiguous
    one = array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    scattered = one + _AROUND if whole else max(one // array.itemsize, 1) * _AROUND
    most = max(1, _HELD // scattered)
    span = max(1, _HELD // max(abs(array.strides[0]), 1)) if whole else 1
    start = 0
    while start < len(rows):
        stop = max(start + most, int(np.searchsorted(rows, rows[start] + span)))
        yield slice(start, stop)
        start = stop
