"""The best score that a search of k settings is to be expected to find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import counted, panels, say, whole_ticks
from vtune.plots.expected_best import expected_best, quantile_best
from vtune.plots.marks import LOOKS, legend, star
from vtune.plots.scores import scores_of
from vtune.results.sweep import Sweep
from vtune.validation import check_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def best_of_k(
    sweep: Sweep,
    k: int | None = None,
    *,
    label: str | None = None,
    metric: str | None = None,
    mode: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draws the expected best score against the number of settings tried: were there enough?

    A curve that still climbs at its end says that more settings would help. The line is the exact
    mean of the best of k draws, with replacement, from the members' best scores; the band holds
    nine of ten searches of k settings. A member that failed counts as the worst score that there
    is, one that was dropped as the best that it had reached. Draws are taken to be
    independent; Halton's are spread more evenly and do a little better. With `ax=` several sweeps
    are compared by what they give for the same effort.

    Args:
      k: up to so many draws; the number of members when left out.
      label: of the line; how many members when left out.
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      mode: "max" or "min", where it is not known for this metric.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric. ImportError: matplotlib is not installed (the extra `plot`).

    Dodge et al., "Show Your Work" (2019); Lourie et al., "Show Your Work with Confidence" (2024).
    """
    scores = scores_of("best_of_k", sweep, metric, mode)
    if k is not None:
        check_count("plots.best_of_k: k", k)
    figure, (axes,) = panels("best_of_k", 1, ax, (5.6, 3.8))
    style = LOOKS[len(axes.lines) % len(LOOKS)]  # beside what is drawn there already
    axes.set(xlabel="settings tried", ylabel=f"expected {scores.label}")
    if scores.failed.all():
        say(axes, f"no member has a finite {scores.shown}")
        return figure
    worst = scores.worth[~scores.failed].min()
    worth = np.where(scores.failed, worst, scores.worth)
    draws = _draws(k or len(worth))
    low, high = (scores.sign * quantile_best(worth, draws, q) for q in (0.05, 0.95))
    mean = scores.sign * expected_best(worth, draws)
    failed = int(scores.failed.sum())
    said = counted(len(worth), "member") + (f", {failed} of them failed" if failed else "")
    axes.fill_between(draws, low, high, color=style.color, alpha=0.18, linewidth=0)
    axes.plot(
        draws, mean, color=style.color, linestyle=style.linestyle, linewidth=1.8,
        marker=style.marker if len(draws) == 1 else None, label=label or said,
    )  # fmt: skip
    star(axes, float(draws[-1]), scores.sign * worth.max())
    if len(draws) > 20:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0.5, len(draws) + 0.5)
        whole_ticks(axes)
    legend(axes, loc="upper right" if scores.mode == "min" else "lower right")
    return figure


def _draws(k: int) -> np.ndarray:
    """Every number of draws up to 200, then ever fewer up to k."""
    if k <= 200:
        return np.arange(1, k + 1)
    return np.unique(np.r_[1:201, np.round(np.geomspace(200, k, 100)).astype(int)])
