"""Draws rows that are held out: for validation, or for a test that nothing else sees."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtune.validation import check_count, is_number


def draw_rows(
    rng: np.random.Generator, rows: np.ndarray, held: int, labels: np.ndarray | None
) -> np.ndarray:
    """Draws `held` of these rows, unsorted.

    Args:
      labels: of all rows of the data; each keeps its share. None draws without looking.
    """
    if labels is None:
        return rows[rng.permutation(len(rows))[:held]]
    classes, counts = np.unique(labels[rows], return_counts=True)
    share = counts * held / counts.sum()  # by largest remainder
    take = np.floor(share).astype(int)
    take[np.argsort(take - share, kind="stable")[: held - take.sum()]] += 1
    picked = [
        rng.permutation(np.flatnonzero(labels[rows] == label))[:n]
        for label, n in zip(classes, take, strict=True)
    ]
    return rows[np.concatenate(picked)]


def check_strata(who: str, labels: np.ndarray, parts: int) -> None:
    """Raises ValueError if labels are not one a row, or one is rarer than there are parts."""
    if labels.ndim != 1:
        raise ValueError(f"{who}: stratify= needs labels [rows], got shape {labels.shape}")
    classes, counts = np.unique(labels, return_counts=True)
    rare = counts.argmin()
    if counts[rare] < parts:
        times, needed = ("once", "twice")[counts[rare] - 1], {2: "two", 3: "three"}[parts]
        raise ValueError(
            f"{who}: label {classes[rare].item()!r} occurs {times}; stratify= needs {needed} of "
            "each, one for every part"
        )


def draw_test_rows(
    who: str, seed: int, rows: int, share: Any, labels: np.ndarray | None, groups: Any
) -> np.ndarray:
    """Draws a share of the rows, sorted: whole groups where there are groups."""
    held = share_of_rows(who, "test", share, rows)
    check_count(f"{who}: seed", seed, 0)
    rng = np.random.default_rng(seed)
    if groups is not None:
        return draw_groups(rng, groups, held)
    if labels is not None:
        check_strata(who, labels, 2)
    return np.sort(draw_rows(rng, np.arange(rows), held, labels))


def draw_groups(rng: np.random.Generator, groups: Any, held: int) -> np.ndarray:
    """Draws whole groups that have about `held` rows; returns the rows.

    Groups that would be too many are passed over while others fit. The smallest of these is taken
    in the end where that comes nearer to `held`.

    Args:
      groups: [rows], the group of every row.
    """
    _, number, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    taken: list[int] = []
    passed: list[int] = []
    left = held
    for group in rng.permutation(len(sizes)).tolist():
        if sizes[group] <= left:
            taken.append(group)
            left -= sizes[group]
        else:
            passed.append(group)
    if passed:
        least = min(passed, key=lambda group: sizes[group])
        if not taken or sizes[least] - left < left:
            taken.append(least)
    return np.flatnonzero(np.isin(number, taken))


def others(rows: int, *parts: np.ndarray) -> np.ndarray:
    """Returns the rows that are in none of these parts, sorted."""
    left = np.ones(rows, bool)
    for part in parts:
        left[part] = False
    return np.flatnonzero(left)


def share_of_rows(who: str, name: str, share: Any, rows: int) -> int:
    """Returns how many rows a share of them is, at least one and not all.

    Raises:
      ValueError: the share does not lie between 0 and 1.
    """
    if not is_number(share) or not 0 < share < 1:
        raise ValueError(f"{who}: {name}={share!r} must lie between 0 and 1, such as 0.2")
    return min(max(round(rows * float(share)), 1), rows - 1)
