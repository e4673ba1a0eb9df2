"""Mean ranks over tasks and the difference that chance may make (Demšar 2006)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


class Ranks(NamedTuple):
    """How methods compare over tasks.

    Attributes:
      mean: [methods] mean rank, 1 is best. p: of Friedman's test, that all are alike.
      critical: Nemenyi's difference of two mean ranks at the 5 % level. tasks: how many.
    """

    mean: np.ndarray
    p: float
    critical: float
    tasks: int


def ranks(losses: np.ndarray) -> Ranks:
    """Ranks methods by losses [tasks, methods], each a mean over seeds; ties share a rank."""
    tasks, methods = losses.shape
    mean = stats.rankdata(losses, axis=1).mean(axis=0)
    p = stats.friedmanchisquare(*losses.T).pvalue if methods > 2 else math.nan
    return Ranks(mean, float(p), critical_difference(methods, tasks), tasks)


def critical_difference(methods: int, tasks: int, level: float = 0.05) -> float:
    """Nemenyi's q sqrt(k (k + 1) / (6 N)), q the studentized range's quantile over sqrt(2)."""
    q = stats.studentized_range.ppf(1 - level, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * tasks)))


def wilcoxon(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Two methods by themselves: on how many tasks a is better, and p of the signed ranks."""
    better = int((a < b).sum())
    p = stats.wilcoxon(a, b).pvalue if np.any(a != b) else 1.0
    return {"better": better, "worse": int((a > b).sum()), "p": float(p)}


def groups(mean: np.ndarray, critical: float) -> list[tuple[int, int]]:
    """The longest runs of methods, sorted by rank, whose ends are within the critical difference:
    (first, last) places; runs inside another are left out."""
    order = np.sort(mean)
    found: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = int(np.searchsorted(order, order[first] + critical, "right")) - 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
