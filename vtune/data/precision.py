"""What a cast to float32 loses of numbers that lie far from 0 for how little they differ.

An hour of Unix seconds has 3,600 values in float64 and 29 in float32. Scaled first and cast then,
all are kept; so scaling needs what the cast took away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vtune.data.blocks import blocks, rows_of_block
from vtune.data.statistics import Statistics, statistics
from vtune.types import float_dtype

_FAR = 10.0  # standard deviations; up to there a cast costs no more than a digit of a scaled value


def remainder(
    values: np.ndarray, cast: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray | None:
    """Returns `values - cast` in float32 where a feature needs it once it is scaled, else None.

    Args:
      values: [rows, ...]. cast: the same in the dtype in which they are held.
      rows: those that decide whether it is needed: the training rows. All where left out.
    """
    if not loses(values.dtype, cast.dtype):
        return None
    rows = np.arange(len(values)) if rows is None else rows
    (found,) = statistics(lambda part: values[part].astype(np.float64), values.shape, [rows])
    if not is_far(found).any():
        return None
    lost = np.empty(values.shape, np.float32)
    for part in blocks(len(values), rows_of_block(values.shape)):
        lost[part] = values[part] - cast[part].astype(np.float64)
    return lost if lost.any() else None


def loses(given: np.dtype, kept: np.dtype) -> bool:
    """Whether a cast may take away what scaling needs."""
    return kept != given and given.kind in "fiu" and kept.kind == "f"


def is_far(found: Statistics) -> np.ndarray:
    """Returns which features [...] lie far from 0 for their spread."""
    most = np.maximum(np.abs(found.least), np.abs(found.most))
    return np.asarray((found.spread > 0) & (most > _FAR * found.spread))


def center_of(
    read: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]
) -> np.ndarray | None:
    """Returns what is best subtracted from an entry before it is cast to the program's float type:
    the mean of features that lie far from 0. None where the cast takes nothing away from them.

    Args:
      read: rows [n] -> their values in float64. shape: of the entry.
    """
    dtype = float_dtype()
    if dtype == np.float64:
        return None
    (found,) = statistics(read, shape, [np.arange(shape[0])])
    far = is_far(found)
    parts = map(read, blocks(shape[0], rows_of_block(shape)))
    if not far.any() or all(np.array_equal(part, part.astype(dtype)) for part in parts):
        return None
    return np.where(far, found.mean, 0.0)
