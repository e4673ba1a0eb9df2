"""The hyperparameters that a member's weights were trained with, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import panels, whole_ticks
from vtune.plots.hyperparameters import MOST, check_name, scale_of, varying
from vtune.plots.marks import BEST, CROWD, LINES, bands, faint, legend, points
from vtune.plots.scores import check_sweep, member_of
from vtune.results.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def schedule(
    sweep: Sweep,
    names: str | Sequence[str] | None = None,
    *,
    member: int | None = None,
    ax: Any = None,
) -> Figure:
    """Draws each traced hyperparameter over the rounds: what did the refiner find?

    The thick line is what one member's weights were trained with, a dot where they moved to
    another member. The settings of all members are pale, and dotted lines are the ends of the
    range; of more than 512 members the bands are drawn that hold half and nine tenths of them.
    Structural choices never change and are left out.

    Args:
      names: of traced hyperparameters; all that vary when left out, the first 12 of more.
      member: whose weights; the best one's when left out.
      ax: matplotlib axes, one a hyperparameter; a new figure when left out.

    Raises:
      IndexError: no such member. ValueError: no such hyperparameter, or it is structural.
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    check_sweep("schedule", sweep)
    column = member_of(sweep, member)
    shown = _traced(sweep, names)
    figure, every = panels("schedule", len(shown), ax)
    for number, (axes, name) in enumerate(zip(every, shown, strict=True)):
        _draw_crowd(axes, sweep, name)
        if column is not None:
            _draw_path(axes, sweep, name, column)
        if number == 0:
            legend(axes)
    return figure


def _draw_crowd(axes: Axes, sweep: Sweep, name: str) -> None:
    """Draws every member's settings as a pale line."""
    from matplotlib.collections import LineCollection

    values = np.asarray(sweep.settings[name], np.float64)
    rounds = np.arange(len(values))
    scale_of(sweep.space, name).draw_axis(axes, "y")
    there = np.flatnonzero(np.isfinite(values).any(axis=0))
    if len(there) > LINES:
        bands(axes, rounds, values[:, there])
    elif len(values) == 1:  # no line has a length
        points(axes, np.zeros(len(there)), values[0, there])
    else:
        lines = [np.column_stack([rounds, values[:, i]]) for i in there]
        axes.add_collection(
            LineCollection(
                lines, colors=CROWD, linewidths=0.7, alpha=max(faint(len(there)), 0.2),
                rasterized=len(there) > 100,
            ),
            autolim=False,
        )  # fmt: skip
    room = max(0.03 * (len(values) - 1), 0.1 if len(values) > 1 else 0.5)
    axes.set(xlabel="round", xlim=(-room, len(values) - 1 + room))
    whole_ticks(axes)


def _draw_path(axes: Axes, sweep: Sweep, name: str, column: int) -> None:
    """Draws what one member's weights were trained with, a dot where they moved."""
    path = sweep.trained.records.lineage(column)
    rounds, own = np.arange(len(path)), sweep.settings[name][np.arange(len(path)), path]
    moved = np.flatnonzero(np.diff(path, prepend=path[:1]))
    alone: dict[str, Any] = {"marker": "*", "markersize": 11} if len(path) == 1 else {}
    label = f"weights of member {sweep[column].index}"
    axes.plot(rounds, own, color=BEST, linewidth=2.2, zorder=4, label=label, **alone)
    axes.plot(moved, own[moved], "o", color=BEST, markersize=6, markeredgecolor="white", zorder=5)


def _traced(sweep: Sweep, names: str | Sequence[str] | None) -> list[str]:
    """The names to draw, all traced."""
    known = [name for name in varying(sweep.space) if name in sweep.settings]
    if names is None:
        if not known:
            raise ValueError(
                "plots.schedule: the space has no traced hyperparameter, such as vt.Float; "
                "structural choices are the same in every round"
            )
        return known[:MOST]
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if check_name("schedule", sweep, name) not in known:
            raise ValueError(
                f"plots.schedule: {name!r} is the same in every round; traced hyperparameters are "
                f"{known}"
            )
    if not listed:
        raise ValueError("plots.schedule: names= is empty; leave it out for all hyperparameters")
    return listed
