"""Learning curves of the whole population."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import counted, panels, say, whole_ticks
from vtune.plots.marks import CROWD, FAILED, INK, LINES, bands, faint, legend, limits, look
from vtune.plots.scores import Scores, scores_of
from vtune.results.no_score import no_finite_score
from vtune.results.sweep import Sweep
from vtune.validation import check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves(
    sweep: Sweep,
    top: int = 5,
    *,
    metric: str | None = None,
    mode: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draws a metric of every member over the rounds: does training still improve, who diverged?

    The best members by `sweep.ranking` have a colour, a line style and a marker each; the legend
    says their last value and its standard deviation over the last quarter of their rounds. A dot is
    where a member was dropped, a × where it diverged. Of more than 512 members the bands are drawn
    that hold half and nine tenths of them.

    Args:
      top: how many of the best members stand out.
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      mode: "max" or "min", where it is not known for this metric: which tail may be cut off.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric. ImportError: matplotlib is not installed (the extra `plot`).
    """
    scores = scores_of("curves", sweep, metric, mode, needs_mode=False)
    check_count("plots.curves: top", top)
    figure, (axes,) = panels("curves", 1, ax, (7.4, 4))
    shown = [i for i in sweep.ranking.tolist() if np.isfinite(scores.values[:, i]).any()][:top]
    if no_finite_score(sweep.trained) is not None:
        shown = []
    others = np.setdiff1d(np.arange(len(sweep)), shown)
    _draw_crowd(axes, scores.values, others)
    _draw_ends(axes, sweep, scores)
    for number, column in enumerate(shown):
        style, curve = look(number), scores.values[:, column]
        axes.plot(
            np.arange(len(curve)), curve, color=style.color, linestyle=style.linestyle,
            marker=style.marker, markevery=_every(len(curve)), markersize=4.5, linewidth=1.7,
            zorder=4, label=f"member {sweep[column].index}: {_late(curve)}",
        )  # fmt: skip
    rounds = len(scores.values)
    axes.set(
        xlabel="round",
        ylabel=scores.shown,
        xlim=(-0.03 * (rounds - 1), 1.03 * (rounds - 1)) if rounds > 1 else (-0.5, 0.5),
        ylim=_limits(scores, shown),
        title=counted(len(sweep), "member"),
    )
    whole_ticks(axes)
    if not np.isfinite(scores.values).any():
        say(axes, f"no member has a finite {scores.shown}")
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if ax is None else {}
    legend(axes, **beside)
    return figure


def _draw_crowd(axes: Axes, values: np.ndarray, members: np.ndarray) -> None:
    """Draws the members that are not the best: pale lines, or bands where they are many."""
    from matplotlib.collections import LineCollection

    rounds = np.arange(len(values))
    there = members[np.isfinite(values[:, members]).any(axis=0)]
    if not len(there):
        return
    if len(there) > LINES:
        bands(axes, rounds, values[:, there])
    elif len(rounds) == 1:
        axes.plot(
            np.zeros(len(there)), values[0, there], ".", color=CROWD, alpha=faint(len(there)),
            label=f"{len(there)} others",
        )  # fmt: skip
    else:
        lines = [np.column_stack([rounds, values[:, i]]) for i in there]
        axes.add_collection(
            LineCollection(
                lines, colors=CROWD, linewidths=0.7, alpha=max(faint(len(there)), 0.25),
                rasterized=len(there) > 100, label=f"{len(there)} others",
            ),
            autolim=False,
        )  # fmt: skip


def _draw_ends(axes: Axes, sweep: Sweep, scores: Scores) -> None:
    """Marks where members end early: dropped with a dot, diverged with a ×, with a + where values
    are no longer finite though the member trains on."""
    trained = sweep.trained
    dropped, diverged, lost, nowhere = [], [], [], 0
    for column in range(len(sweep)):
        finite = np.flatnonzero(np.isfinite(scores.values[:, column]))
        if scores.died[column]:
            if len(finite):
                diverged.append((int(finite[-1]), column))
            else:
                nowhere += 1
        elif trained.dropped(column) and len(finite):
            dropped.append((int(finite[-1]), column))
        elif len(finite) and finite[-1] < trained.lived[column] - 1:
            lost.append((int(finite[-1]), column))
    few = len(sweep) <= LINES
    for places, marker, color, what in (
        (dropped, ".", "#51666f", "dropped"),
        (diverged, "x", FAILED, "diverged"),
        (lost, "+", INK, "without a finite score at the end"),
    ):
        if places:
            rounds, columns = np.array(places).T
            count = len(places) + (nowhere if what == "diverged" else 0)
            axes.plot(
                rounds, scores.values[rounds, columns], marker, color=color, zorder=3,
                markersize=5, alpha=1 if few else faint(count), rasterized=not few,
                label=f"{count} {what}",
            )  # fmt: skip
    if nowhere and not diverged:
        axes.plot([], [], "x", color=FAILED, label=f"{nowhere} diverged in the first round")


def _limits(scores: Scores, shown: list[int]) -> tuple[float, float]:
    """The limits of the scores; of a short training the first rounds of the best are in them."""
    low, high = limits(scores.values, scores.mode)
    best = scores.values[:, shown]
    if len(best) <= 10 and np.isfinite(best).any():
        lowest, highest = np.nanmin(best), np.nanmax(best)
        margin = 0.03 * (highest - lowest)
        low, high = min(low, lowest - margin), max(high, highest + margin)
    return low, high


def _late(curve: np.ndarray) -> str:
    """The last value, and the standard deviation over the last quarter of the rounds."""
    finite = curve[np.isfinite(curve)]
    late = finite[-max(len(finite) // 4, 2) :]
    return f"{finite[-1]:.4g}" + (f" ± {late.std():.2g} late" if len(finite) > 3 else "")


def _every(rounds: int) -> int:
    return max(rounds // 8, 1)
