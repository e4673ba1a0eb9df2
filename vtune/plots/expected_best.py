"""The best of k draws from scores that are there, exactly: its mean and its quantiles."""

from __future__ import annotations

import numpy as np


def expected_best(scores: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Returns the expected highest of k draws, with replacement, from n scores.

    With the scores in ascending order the best of k is the i-th or lower with probability
    (i / n)^k, so its mean is the sum over i of score_i ((i / n)^k - ((i - 1) / n)^k).

    Args:
      scores: [n] finite, higher is better. draws: [m] the numbers k.

    Returns:
      [m] float64.

    Dodge et al., "Show Your Work: Improved Reporting of Experimental Results" (2019).
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    below = np.arange(len(ordered) + 1) / len(ordered)
    return np.array([np.sum(ordered * np.diff(below**k)) for k in np.asarray(draws)])


def quantile_best(scores: np.ndarray, draws: np.ndarray, q: float) -> np.ndarray:
    """Returns the q-quantile of the highest of k draws, with replacement, from n scores.

    It is the quantile q^(1/k) of the scores: the lowest score with so many at or below it.

    Args:
      scores: [n] finite, higher is better. draws: [m] the numbers k. q: in (0, 1].

    Lourie et al., "Show Your Work with Confidence" (2024), draw this with confidence bands.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    rank = np.ceil(q ** (1 / np.asarray(draws, np.float64)) * len(ordered) - 1e-9).astype(int)
    return ordered[np.clip(rank - 1, 0, len(ordered) - 1)]
