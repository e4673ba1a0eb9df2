"""Mean, spread and range of the features of some rows, in one pass over blocks of rows.

Blocks are joined by their means and sums of squares (Chan, Golub and LeVeque 1979). They depend on
the shape of the data alone, so data that are read from a file have the bits of those in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vtune.data.blocks import rows_of_block


class Statistics(NamedTuple):
    """Of each feature, all [...], in float64.

    Attributes:
      rows: how many there are. squares: the sum of the squared distances from the mean.
    """

    rows: int
    mean: np.ndarray
    squares: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """The standard deviation."""
        return np.sqrt(self.squares / self.rows)


@np.errstate(over="ignore", invalid="ignore")  # such numbers have an error of their own
def statistics(
    read: Callable[[np.ndarray], np.ndarray], shape: Sequence[int], parts: Sequence[np.ndarray]
) -> list[Statistics]:
    """Returns the statistics of every part of the rows. Each row is read once.

    Args:
      read: rows [n], sorted and each once -> their values in float64, [n, ...].
      shape: of the entry, [rows, ...]. parts: row numbers; one part may have a row several times.
    """
    found: list[Statistics | None] = [None] * len(parts)
    parts = [np.sort(part) for part in parts]
    size = rows_of_block(shape)
    for start in range(0, shape[0], size):
        inside = [part[slice(*np.searchsorted(part, (start, start + size)))] for part in parts]
        rows = np.unique(np.concatenate(inside))
        if not len(rows):
            continue
        values = read(rows)
        for number, own in enumerate(inside):
            if len(own):
                block = _of_block(values[np.searchsorted(rows, own)])
                before = found[number]
                found[number] = block if before is None else _joined(before, block)
    return [part for part in found if part is not None]


def _of_block(values: np.ndarray) -> Statistics:
    mean = values.mean(axis=0)
    squares = np.square(values - mean).sum(axis=0)
    return Statistics(len(values), mean, squares, values.min(axis=0), values.max(axis=0))


def _joined(one: Statistics, other: Statistics) -> Statistics:
    rows = one.rows + other.rows
    away = other.mean - one.mean
    mean = one.mean + away * (other.rows / rows)
    squares = one.squares + other.squares + away * away * (one.rows * other.rows / rows)
    least, most = np.minimum(one.least, other.least), np.maximum(one.most, other.most)
    return Statistics(rows, mean, squares, least, most)
