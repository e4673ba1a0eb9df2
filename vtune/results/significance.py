"""Intervals and tests for means over trainings, which may share their training rows."""

from __future__ import annotations

import numpy as np


def t_interval(values: np.ndarray, confidence: float, ratio: float = 0.0) -> tuple[float, float]:
    """Returns the confidence interval of a mean by Student's t.

    Args:
      values: [n], two or more. confidence: such as 0.95.
      ratio: test rows by training rows, where the values come of splits of the same rows. Their
        variance is then taken as (1/n + ratio) times the sample's, not 1/n times: the training rows
        that the splits share make values alike (Nadeau and Bengio 2003). 0 for seeds.
    """
    from scipy import stats  # slow to import

    n = len(values)
    quantile = stats.t.ppf((1 + confidence) / 2, n - 1)
    half = float(quantile * _standard_error(values, ratio))
    mean = float(np.mean(values, dtype=np.float64))
    return mean - half, mean + half


def paired_t_test(differences: np.ndarray, ratio: float = 0.0) -> float:
    """Returns the two-sided p value of the paired t-test; with a ratio, of the corrected resampled
    t-test (Nadeau and Bengio 2003).

        t = mean / sqrt((1/n + ratio) * variance),   n - 1 degrees of freedom

    NaN where the differences are all the same, since nothing then shows how they vary.

    Args:
      differences: [n], two or more. ratio: see `t_interval`.
    """
    from scipy import stats

    error = _standard_error(differences, ratio)
    scale = np.abs(differences).max(initial=0.0)
    if error <= 1e-12 * scale or not scale:
        return float("nan")
    return float(2 * stats.t.sf(abs(np.mean(differences)) / error, len(differences) - 1))


def _standard_error(values: np.ndarray, ratio: float) -> float:
    variance = np.var(np.asarray(values, np.float64), ddof=1)
    return float(np.sqrt((1 / len(values) + ratio) * variance))
