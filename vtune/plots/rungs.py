"""How many members were trained in each round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import panels, whole_ticks
from vtune.plots.marks import CROWD, FAILED, INK, legend
from vtune.plots.scores import scores_of
from vtune.results.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rungs(sweep: Sweep, *, metric: str | None = None, ax: Any = None) -> Figure:
    """Draws the members of every round: what did dropping and stopping early save?

    The steps are the members that were trained in a round; the dashed line is those of them with a
    finite score, so what lies between has diverged. Each rung's size and rounds are written on it.
    The title says which share of the rounds of all members was trained.

    Args:
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric. ImportError: matplotlib is not installed (the extra `plot`).
    """
    scores = scores_of("rungs", sweep, metric, needs_mode=False)
    figure, (axes,) = panels("rungs", 1, ax, (5.6, 3.8))
    trained = sweep.trained.records.trained
    members = trained.sum(axis=1)
    finite = (trained & np.isfinite(scores.values)).sum(axis=1)
    bounds = np.arange(len(members) + 1) - 0.5
    axes.stairs(members, bounds, fill=True, color=CROWD, alpha=0.5, label="trained")
    axes.stairs(members, bounds, color=INK, linewidth=1.2, baseline=None)
    if (finite < members).any():
        axes.stairs(
            finite, bounds, color=FAILED, linestyle="--", linewidth=1.4, baseline=None,
            label=f"with a finite {scores.shown}",
        )  # fmt: skip
    begin = 0
    for size, end in sweep.trained.records.rungs:
        axes.annotate(
            f"{size:,} × {end - begin}", (begin - 0.5, size), (3, 3), fontsize="x-small",
            textcoords="offset points", ha="left", va="bottom",
        )  # fmt: skip
        begin = end
    done, whole = int(members.sum()), members.size * len(sweep)
    axes.set(
        xlabel="round",
        ylabel="members",
        xlim=(bounds[0], bounds[-1]),
        title=f"{done:,} of {whole:,} member-rounds ({done / whole:.0%})",
    )
    if len(sweep) > 8 * max(members.min(), 1):
        axes.set_yscale("log", base=2)
        axes.set_ylim(max(members.min(), 1) / 2, 2 * members.max())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(0, 1.15 * max(members.max(), 1))
        whole_ticks(axes, "y")
    whole_ticks(axes)
    legend(axes)
    return figure
