"""Advice: the first two differ by less than seeds or folds do."""

from __future__ import annotations

import numpy as np

from vtune.report.words import shown
from vtune.results.comparison import by_unit
from vtune.results.no_score import finished
from vtune.results.sweep import Sweep
from vtune.results.trainings import values_of


def within_the_spread(sweep: Sweep) -> str | None:
    """Returns that the order of the first may be chance, where the gap between the first two is
    less than the standard deviation over seeds.

    Over folds it is that of the two members' difference, since a fold may be hard for both.
    """
    trained = sweep.trained
    columns = finished(trained, "report")
    if len(columns) < 2 or values_of(trained, columns[0]).size < 2:
        return None
    best = values_of(trained, columns[0])
    folds = len(best) > 1
    behind, gaps, spreads = [], [], []
    for column in columns[1:]:
        values = values_of(trained, column)
        gap, spread = trained.plan.sign * float(best.mean() - values.mean()), _spread(best, values)
        if not gap < spread:
            break
        behind.append(column)
        gaps.append(gap)
        spreads.append(spread)
    if not behind:
        return None
    over = f"{best.size // len(best)} seeds" if not folds else f"{len(best)} folds"
    varies = "their difference varies" if folds else "seeds of one setting vary"
    return (
        f"Members {sweep[columns[0]].index} and {sweep[behind[0]].index}, the first two, differ by "
        f"{gaps[0]:.2g} in {shown(sweep.metric_name)}, and {varies} by {spreads[0]:.2g} (standard "
        f"deviation over {over}): their order may be chance. The first {len(behind) + 1} are that "
        f"close; sweep.retrain(top={len(behind) + 1}, seeds=10) tells more."
    )


def _spread(a: np.ndarray, b: np.ndarray) -> float:
    """The standard deviation of the difference over folds, or over the seeds of one of the two.

    Args:
      a, b: [folds, seeds].
    """
    if len(a) > 1:
        return float(np.std(by_unit(a) - by_unit(b), ddof=1))
    return float(np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2))
