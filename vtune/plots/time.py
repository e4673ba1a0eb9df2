"""The best score so far against the seconds that a sweep took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import counted, panels, say
from vtune.plots.marks import CROWD, LOOKS, legend, limits
from vtune.plots.scores import Scores, scores_of
from vtune.results.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def time(
    sweep: Sweep,
    *,
    label: str | None = None,
    metric: str | None = None,
    mode: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draws the best score so far of the whole population against time: was it worth waiting?

    The shaded part is compiling, only its end where it took long. A sweep is timed as a whole, so
    its seconds are shared out to the rounds by the members that were trained in each. They are
    those of the last call: all rounds of a sweep that was extended or resumed are laid into them.
    With `ax=` several sweeps are compared.

    Args:
      label: of the line; the number of members when left out.
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      mode: "max" or "min", where it is not known for this metric.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric. ImportError: matplotlib is not installed (the extra `plot`).
    """
    scores = scores_of("time", sweep, metric, mode)
    figure, (axes,) = panels("time", 1, ax, (5.6, 3.8))
    style = LOOKS[len(axes.lines) % len(LOOKS)]  # beside what is drawn there already
    seconds, best = seconds_of_rounds(sweep), best_so_far(scores)
    compiling = sweep.timing.compile
    first = not axes.lines
    axes.set(xlabel="seconds", ylabel=f"best {scores.shown} so far")
    if first:
        axes.axvspan(
            0, compiling, color=CROWD, alpha=0.3, lw=0, label=f"compiling: {compiling:.3g} s"
        )
    axes.plot(
        seconds, best, color=style.color, linestyle=style.linestyle, marker=style.marker,
        markersize=4, markevery=max(len(best) // 12, 1), drawstyle="steps-post", linewidth=1.6,
        label=label or f"{counted(len(sweep), 'member')}, {counted(len(best), 'round')}",
    )  # fmt: skip
    left, right = max(0, compiling - sweep.timing.run / 2), 1.04 * sweep.timing.run + compiling
    low, high = limits(best, None)
    if not first:
        left, right = min(left, axes.get_xlim()[0]), max(right, axes.get_xlim()[1])
        low, high = min(low, axes.get_ylim()[0]), max(high, axes.get_ylim()[1])
    axes.set(xlim=(left, right or 1.0), ylim=(low, high))
    if np.isnan(best).all():
        say(axes, f"no member has a finite {scores.shown}")
    legend(axes)
    return figure


def seconds_of_rounds(sweep: Sweep) -> np.ndarray:
    """Returns [rounds] the seconds from the start to the end of every round."""
    work = sweep.trained.records.trained.sum(axis=1)
    share = np.cumsum(work) / max(work.sum(), 1)
    return sweep.timing.compile + sweep.timing.run * share


def best_so_far(scores: Scores) -> np.ndarray:
    """Returns [rounds] the best value of any member up to a round; NaN before the first."""
    worth = np.where(np.isnan(scores.values), -np.inf, scores.sign * scores.values)
    best = np.maximum.accumulate(worth.max(axis=1))
    return np.where(np.isfinite(best), scores.sign * best, np.nan)
