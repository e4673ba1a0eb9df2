"""Advice: the best members still improved when training ended."""

from __future__ import annotations

import numpy as np

from vtune.report.moves import copied
from vtune.report.words import shared, shown
from vtune.results.no_score import finished
from vtune.results.sweep import Sweep

TOP = 5
SURE = 3.0  # standard deviations
WORTH = 0.02  # of all that training brought


def still_improving(sweep: Sweep) -> str | None:
    """Returns that training was too short, where the best five members rose to its end.

    Of each the last third of its rounds, three or more, is looked at: the sum over members of
    Kendall's S, which counts pairs of rounds that rise less those that fall, has to be three
    standard deviations above 0 (Mann 1945), and the rise a fiftieth of all that training brought.
    Where weights were copied, members are no separate trainings, and the best counts alone.
    """
    trained = sweep.trained
    columns = finished(trained, "report")[: 1 if copied(sweep) else TOP]
    curves = [one for c in columns if len(one := _curve(sweep, c)) > 2]
    if not curves:
        return None
    lates = [curve[-_window(curve) :] for curve in curves]
    rising = [_kendall(late) for late in lates]
    lengths = np.array([len(late) for late in lates])
    variance = np.sum(lengths * (lengths - 1) * (2 * lengths + 5)) / 18
    if sum(rising) < SURE * np.sqrt(variance):
        return None
    rise = np.median([late[-1] - late[0] for late in lates])
    if rise < WORTH * np.median([curve.max() - curve[0] for curve in curves]) or rise <= 0:
        return None
    count = sum(s > 0 for s in rising)
    which = "the best member"
    if len(curves) > 1:
        which = f"{shared(count, len(curves))} best members"
    change = rise if sweep.mode == "max" else -rise
    return (
        f"{which[0].upper()}{which[1:]} still improved over the last {lengths.max()} of "
        f"{trained.rounds} rounds ({shown(sweep.metric_name)} by {change:+.2g}): train longer, "
        "such as with vt.extend, unless a schedule lets the learning rate fall to the end."
    )


def _curve(sweep: Sweep, column: int) -> np.ndarray:
    """The scores of a member's weights, round by round; higher is better."""
    path = sweep.trained.records.lineage(column)
    values = sweep.history[sweep.metric_name][np.arange(len(path)), path].astype(np.float64)
    return sweep.trained.plan.sign * values[np.isfinite(values)]


def _window(curve: np.ndarray) -> int:
    return max(3, len(curve) // 3)


def _kendall(values: np.ndarray) -> float:
    """Pairs that rise less pairs that fall."""
    return float(np.sum(np.triu(np.sign(values - values[:, None]), 1)))
