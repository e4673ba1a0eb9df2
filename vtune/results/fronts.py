"""Pareto fronts: the rows that no other row dominates."""

from __future__ import annotations

import numpy as np


def front(worth: np.ndarray) -> np.ndarray:
    """Returns the rows that no other dominates: as good everywhere, and better somewhere.

    Of equal rows there are all. The best in the first column comes first, of those as good there
    the best in the second.

    Args:
      worth: [rows, objectives], higher is better; rows with NaN are left out.
    """
    there = np.flatnonzero(~np.isnan(worth).any(axis=1))
    left = there[np.lexsort(-worth[there, ::-1].T)]
    found: list[int] = []
    while len(left):
        best = worth[left[0]]  # no later row is better where it is worse
        found += left[(worth[left] == best).all(axis=1)].tolist()
        left = left[(worth[left] > best).any(axis=1)]
    return np.array(found, int)
