"""Draws rows that are held out: for validation, or for a test that nothing else sees."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtune.validation import check_count, is_number


def draw_rows(
    who: str, rng: np.random.Generator, rows: np.ndarray, held: int, labels: np.ndarray | None
) -> np.ndarray:
    """Draws `held` of these rows, unsorted.

    Args:
      labels: of all rows of the data; each keeps its share. None draws without looking.

    Raises:
      ValueError: the labels are not one a row, or one of them occurs once among these rows.
    """
    if labels is None:
        return rows[rng.permutation(len(rows))[:held]]
    if labels.ndim != 1:
        raise ValueError(f"{who}: stratify= needs labels [rows], got shape {labels.shape}")
    classes, counts = np.unique(labels[rows], return_counts=True)
    if counts.min() < 2:
        rare = classes[counts.argmin()]
        raise ValueError(
            f"{who}: label {rare!r} occurs once; stratify= needs two of each, and with test= three"
        )
    share = counts * held / counts.sum()  # by largest remainder
    take = np.floor(share).astype(int)
    take[np.argsort(take - share, kind="stable")[: held - take.sum()]] += 1
    picked = [
        rng.permutation(np.flatnonzero(labels[rows] == label))[:n]
        for label, n in zip(classes, take, strict=True)
    ]
    return rows[np.concatenate(picked)]


def draw_test_rows(
    who: str, seed: int, rows: int, share: Any, labels: np.ndarray | None, groups: Any
) -> np.ndarray:
    """Draws a share of the rows, sorted: whole groups where there are groups."""
    held = share_of_rows(who, "test", share, rows)
    check_count(f"{who}: seed", seed, 0)
    rng = np.random.default_rng(seed)
    if groups is not None:
        return draw_groups(rng, groups, held)
    return np.sort(draw_rows(who, rng, np.arange(rows), held, labels))


def draw_groups(rng: np.random.Generator, groups: Any, held: int) -> np.ndarray:
    """Draws whole groups until they have `held` rows or more; returns the rows.

    Args:
      groups: [rows], the group of every row.
    """
    names, number, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    count = int(np.searchsorted(np.cumsum(sizes[order]), held)) + 1
    return np.flatnonzero(np.isin(number, order[:count]))


def share_of_rows(who: str, name: str, share: Any, rows: int) -> int:
    """Returns how many rows a share of them is, at least one and not all.

    Raises:
      ValueError: the share does not lie between 0 and 1.
    """
    if not is_number(share) or not 0 < share < 1:
        raise ValueError(f"{who}: {name}={share!r} must lie between 0 and 1, such as 0.2")
    return min(max(round(rows * float(share)), 1), rows - 1)
