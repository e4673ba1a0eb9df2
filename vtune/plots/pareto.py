"""Two metrics against each other, and the members that no other beats in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import DENSE, counted, panels, say
from vtune.plots.marks import CROWD, INK, legend, limits, missing, points, star
from vtune.plots.scores import scores_of
from vtune.results.fronts import front
from vtune.results.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pareto(
    sweep: Sweep,
    x: str | None = None,
    y: str | None = None,
    *,
    modes: tuple[str | None, str | None] = (None, None),
    ax: Any = None,
) -> Figure:
    """Draws two metrics of every member against each other: what does one cost of the other?

    Values are those of the weights that a member holds. The joined ones are the Pareto front: no
    other member is better in one metric and as good in the other. The star is `sweep.best`.

    Args:
      x: a name of `sweep.history`; the first other metric of the validation rows when left out.
      y: another; the one that members are compared by when left out.
      modes: "max" or "min" of x and of y, where it is not known for a metric.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric, one metric twice, or whether higher is better is not known.
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    up = scores_of("pareto", sweep, y, _mode(modes, 1))
    across = scores_of("pareto", sweep, _other(sweep, up.name) if x is None else x, _mode(modes, 0))
    if across.name == up.name:
        raise ValueError(
            f"plots.pareto: x and y are both {up.name!r}; name two of {list(sweep.history)}"
        )
    figure, (axes,) = panels("pareto", 1, ax, (5.4, 4.2))
    held = sweep.trained.last_trained
    first, second = across.values[held], up.values[held]
    failed = up.died | np.isnan(first) | np.isnan(second)
    axes.set(
        xlabel=f"{across.shown} ({across.mode})",
        ylabel=f"{up.shown} ({up.mode})",
        xlim=limits(first[~failed], across.mode),
        ylim=limits(second[~failed], up.mode),
    )
    drawn = int((~failed).sum())
    points(axes, first[~failed], second[~failed], label=counted(drawn, "member") if drawn else None)
    _beyond(axes, first[~failed], second[~failed], (across.mode, up.mode))
    worth = np.column_stack([across.sign * first, up.sign * second])
    worth[failed] = np.nan
    rows = front(worth)
    _, once = np.unique(worth[rows], axis=0, return_index=True)  # from left to right
    rows = rows[once]
    axes.plot(
        first[rows], second[rows], "o-", color=INK, markersize=5, markerfacecolor="white",
        drawstyle="steps-pre", linewidth=1.2,  # a point's height is reached up to its place
        label=f"{len(rows)} on the front" if drawn else None, zorder=4,
    )  # fmt: skip
    if up.winner is not None and not failed[up.winner]:
        star(axes, first[up.winner], second[up.winner], up.winner_label)
    missing(axes, up.died, failed)
    if failed.all():
        say(axes, f"no member has a finite {up.shown} and {across.shown}")
    legend(axes)
    return figure


def _beyond(axes: Axes, x: np.ndarray, y: np.ndarray, modes: tuple[str | None, str | None]) -> None:
    """Marks the members that the limits cut off, which are worse: triangles that point to them."""
    at = [np.clip(values, *ends) for values, ends in ((x, axes.get_xlim()), (y, axes.get_ylim()))]
    below = at[1] != y
    beside = (at[0] != x) & ~below
    count = int((below | beside).sum())
    for out, marker in (
        (below, "^" if modes[1] == "min" else "v"),
        (beside, ">" if modes[0] == "min" else "<"),
    ):
        if out.any():
            axes.scatter(
                at[0][out], at[1][out], s=16, color=CROWD, marker=marker, clip_on=False, zorder=3,
                rasterized=bool(out.sum() > DENSE),
                label=f"{count:,} worse than shown" if count else None,
            )  # fmt: skip
            count = 0  # said once


def _other(sweep: Sweep, name: str) -> str:
    """The first other metric of the validation rows, else of the training rows."""
    for metric, values in sweep.history.items():
        if metric != name and values.ndim == 2:
            return metric
    raise ValueError(
        f"plots.pareto: {name!r} is the sweep's only metric; give the learner another in metrics="
    )


def _mode(modes: Any, place: int) -> str | None:
    if not isinstance(modes, tuple | list) or len(modes) != 2:
        raise ValueError(
            f'plots.pareto: modes={modes!r} must be a pair, of x and of y, such as ("min", None)'
        )
    return modes[place]
