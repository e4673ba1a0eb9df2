"""Rows in blocks, so that what is computed of all of them takes little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

_NUMBERS = 2**20  # in a block


def rows_of_block(shape: Sequence[int]) -> int:
    """Returns how many rows of an array [rows, ...] are a block; its shape alone decides."""
    return max(1, _NUMBERS // max(1, math.prod(shape[1:])))


def blocks(rows: int, size: int) -> Iterator[np.ndarray]:
    """Yields the numbers of all rows, so many at a time."""
    for start in range(0, rows, size):
        yield np.arange(start, min(start + size, rows))
