"""Whose weights went where: the population's family tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import panels, plain, whole_ticks
from vtune.plots.marks import BEST, CROWD, FAILED, legend
from vtune.plots.scores import check_sweep, died, member_of
from vtune.results.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALL = 64  # of more members the paths of the best are drawn alone
PATHS = 50
COPY = "#0072b2"


def lineage(sweep: Sweep, member: int | None = None, *, ax: Any = None) -> Figure:
    """Draws rounds against members, with a line wherever weights were copied to another member.

    The thick path is that of one member's weights, with a dot where they moved. A dot at the end
    of a pale line is where a member was dropped, a × a member that has diverged. Of more than 64
    members only the paths that led to the 50 best are drawn.

    Args:
      member: whose path stands out; the best one's when left out.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      IndexError: no such member.
      ImportError: matplotlib is not installed (the extra `plot`).

    Jaderberg et al., "Population Based Training of Neural Networks" (2017), draw such trees.
    """
    check_sweep("lineage", sweep)
    column = member_of(sweep, member)
    figure, (axes,) = panels("lineage", 1, ax, (6.4, 4.2))
    few = len(sweep) <= ALL
    if few:
        _draw_members(axes, sweep)
        segments = copies(sweep.parents)
        said = f"{len(segments)} copies"
    else:
        best = sweep.ranking[np.isfinite(sweep.scores[sweep.ranking])][:PATHS]
        segments = _paths(sweep, best.tolist())
        said = f"the paths to the {len(best)} best of {len(sweep):,} members"
    _draw_segments(axes, segments, said, few)
    if column is None:
        axes.set_title(f"no member has a finite {plain(sweep.metric_name)}", fontsize="medium")
    else:
        _draw_path(axes, sweep, column)
    rounds = len(sweep.parents)
    axes.set(
        xlabel="round",
        ylabel="member",
        xlim=(-0.03 * (rounds - 1), 1.03 * (rounds - 1)) if rounds > 1 else (-0.5, 0.5),
        ylim=(-0.03 * len(sweep) - 0.5, len(sweep) * 1.03 - 0.5),
    )
    whole_ticks(axes)
    whole_ticks(axes, "y")
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if ax is None else {}
    legend(axes, **beside)
    return figure


def _draw_path(axes: Axes, sweep: Sweep, column: int) -> None:
    """Draws the way of one member's weights, with a dot where they moved."""
    path = sweep.trained.records.lineage(column)
    moved = np.flatnonzero(np.diff(path, prepend=path[:1]))
    axes.plot(
        np.arange(len(path)), path, color=BEST, linewidth=2.4, zorder=4,
        label=f"weights of member {sweep[column].index}",
    )  # fmt: skip
    axes.plot(moved, path[moved], "o", color=BEST, markersize=6, markeredgecolor="white", zorder=5)
    axes.plot(
        len(path) - 1, path[-1], "*", color=BEST, markersize=13, markeredgecolor="white", zorder=6
    )


def copies(parents: np.ndarray) -> np.ndarray:
    """Returns [copies, 2, 2] the ends, as (round, member), of every copy to another member."""
    rounds, members = np.nonzero((parents >= 0) & (parents != np.arange(parents.shape[1])))
    keep = rounds > 0
    rounds, members = rounds[keep], members[keep]
    before = np.column_stack([rounds - 1, parents[rounds, members]])
    return np.stack([before, np.column_stack([rounds, members])], axis=1)


def _paths(sweep: Sweep, members: list[int]) -> np.ndarray:
    """The steps of the paths to these members, as (round, member), each once."""
    steps = set()
    for column in members:
        path = sweep.trained.records.lineage(column).tolist()
        steps |= {(r, *path[r : r + 2]) for r in range(len(path) - 1)}
    ends = [[(r, a), (r + 1, b)] for r, a, b in sorted(steps)]
    return np.array(ends, float).reshape(-1, 2, 2)


def _draw_segments(axes: Axes, segments: np.ndarray, said: str, few: bool) -> None:
    from matplotlib.collections import LineCollection

    if len(segments):
        axes.add_collection(
            LineCollection(
                list(segments), colors=COPY, linewidths=0.9, zorder=3,
                alpha=0.7 if few else 0.55, rasterized=len(segments) > 500, label=said,
            ),
            autolim=False,
        )  # fmt: skip


def _draw_members(axes: Axes, sweep: Sweep) -> None:
    """Draws every member's rounds as a pale line, and how it ended."""
    trained, dead = sweep.trained, died(sweep)
    last = trained.lived - 1
    rows = np.arange(len(sweep))
    axes.hlines(rows, 0, last, color=CROWD, linewidth=0.7, alpha=0.6)
    dropped = rows[(trained.lived < trained.rounds) & ~dead]
    for members, marker, color, what in (
        (dropped, ".", CROWD, "dropped"),
        (rows[dead], "x", FAILED, "diverged"),
    ):
        if len(members):
            axes.plot(
                last[members], members, marker, color=color, markersize=6, clip_on=False,
                label=f"{len(members)} {what}",
            )  # fmt: skip
