"""What a cast to float32 loses of numbers that lie far from 0 for how little they differ.

An hour of Unix seconds has 3,600 values in float64 and 29 in float32. Scaled first and cast then,
all are kept; so scaling needs what the cast took away.
"""

from __future__ import annotations

import numpy as np

_FAR = 10.0  # standard deviations; up to there a cast costs no more than a digit of a scaled value
_BLOCK = 2**22  # numbers looked at together, to bound memory


def remainder(
    values: np.ndarray, cast: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray | None:
    """Returns `values - cast` in float32 where a feature needs it once it is scaled, else None.

    Args:
      values: [rows, ...]. cast: the same in the dtype in which they are held.
      rows: those that decide whether it is needed: the training rows. All where left out.
    """
    if cast.dtype == values.dtype or values.dtype.kind not in "fiu" or cast.dtype.kind != "f":
        return None
    if not is_far(values, rows).any():
        return None
    lost = (values - cast.astype(np.float64)).astype(np.float32)
    return lost if lost.any() else None


def is_far(values: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Returns which features [...] of these rows lie far from 0 for their spread."""
    count = len(values) if rows is None else len(rows)
    first = np.asarray(values[0 if rows is None else rows[0]], np.float64)
    most, total, squares = np.abs(first), np.zeros_like(first), np.zeros_like(first)
    step = max(1, _BLOCK // max(first.size, 1))
    for start in range(0, count, step):
        block = slice(start, start + step)
        part = np.asarray(values[block if rows is None else rows[block]], np.float64)
        most = np.maximum(most, np.abs(part).max(axis=0))
        away = part - first
        total = total + away.sum(axis=0)
        squares = squares + (away * away).sum(axis=0)
    spread = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
    return np.asarray((spread > 0) & (most > _FAR * spread))
