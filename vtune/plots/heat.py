"""A heat map of two hyperparameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import panels, say
from vtune.plots.hyperparameters import (
    Hyperparameter,
    check_name,
    dependence,
    hyperparameter,
    varying,
)
from vtune.plots.marks import BEST, FAILED, RANKS, limits
from vtune.plots.scores import Scores, scores_of
from vtune.results.sweep import Sweep
from vtune.validation import check_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heat(
    sweep: Sweep,
    x: str | None = None,
    y: str | None = None,
    *,
    buckets: int = 8,
    metric: str | None = None,
    mode: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draws the best score in every cell of two hyperparameters: do they hang together?

    A cell has the best of its members, so other hyperparameters are at their best. Brighter is
    better, and the number says it. An empty cell has no member; in one with a × all diverged or
    have no score. The framed cell is the best member's.

    Args:
      x, y: names of hyperparameters; the two that scores depend on most when left out.
      buckets: cells along a range; choices, and the values of a grid, are one each.
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      mode: "max" or "min", where it is not known for this metric.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric or hyperparameter, or fewer than two vary.
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    scores = scores_of("heat", sweep, metric, mode)
    check_count("plots.heat: buckets", buckets)
    across, up = _two(sweep, x, y, scores)
    figure, (axes,) = panels("heat", 1, ax, (5.6, 4.4))
    across.draw_axis(axes, "x")
    up.draw_axis(axes, "y")
    best, members = cells(across, up, scores, buckets)
    columns, rows = across.bounds(buckets), up.bounds(buckets)
    low, high = limits(best, scores.mode)
    if np.isfinite(best).any():
        mesh = axes.pcolormesh(
            columns, rows, np.ma.masked_invalid(best), vmin=low, vmax=high, zorder=0,
            cmap=RANKS if scores.mode == "max" else f"{RANKS}_r", rasterized=best.size > 400,
        )  # fmt: skip
        figure.colorbar(mesh, ax=axes, label=scores.label)
    dead = np.argwhere((members > 0) & np.isnan(best))
    middle = [_middles(across, columns), _middles(up, rows)]
    if len(dead):
        axes.scatter(middle[0][dead[:, 1]], middle[1][dead[:, 0]], marker="x", color=FAILED, s=24)
    if best.size <= 100:
        digits = 3 if high - low > 0.05 * max(abs(low), abs(high)) else 4
        for row, column in np.argwhere(np.isfinite(best)):
            share = (best[row, column] - low) / (high - low)
            bright = share > 0.55 if scores.mode == "max" else share < 0.45
            axes.text(
                middle[0][column], middle[1][row], f"{best[row, column]:.{digits}g}",
                fontsize="x-small", ha="center", va="center", zorder=3,
                color="black" if bright else "white",
            )  # fmt: skip
    if scores.winner is not None:
        row, column = up.bucket(buckets)[scores.winner], across.bucket(buckets)[scores.winner]
        if row >= 0 and column >= 0:
            x0, x1, y0, y1 = *columns[column : column + 2], *rows[row : row + 2]
            axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=BEST, linewidth=2.5)
    if scores.failed.all():
        say(axes, f"no member has a finite {scores.shown}")
    return figure


def cells(
    across: Hyperparameter, up: Hyperparameter, scores: Scores, buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best score in every cell, NaN where there is none, and the members in it.

    Both are [rows of `up`, columns of `across`].
    """
    shape = len(up.bounds(buckets)) - 1, len(across.bounds(buckets)) - 1
    row, column = up.bucket(buckets), across.bucket(buckets)
    there = (row >= 0) & (column >= 0)
    members = np.zeros(shape, int)
    np.add.at(members, (row[there], column[there]), 1)
    worth = np.full(shape, -np.inf)
    np.maximum.at(worth, (row[there], column[there]), scores.worth[there])
    return np.where(np.isfinite(worth), scores.sign * worth, np.nan), members


def _two(
    sweep: Sweep, x: str | None, y: str | None, scores: Scores
) -> tuple[Hyperparameter, Hyperparameter]:
    """The two hyperparameters: those named, the others by what scores depend on."""
    named = [None if n is None else check_name("heat", sweep, n) for n in (x, y)]
    others = [n for n in varying(sweep.space) if n not in named]
    found = [hyperparameter(sweep, name, scores) for name in others]
    found.sort(key=lambda one: dependence(one, scores.worth), reverse=True)
    if named.count(None) > len(found):
        raise ValueError(
            f"plots.heat: needs two hyperparameters that vary, and the space has "
            f"{list(varying(sweep.space))}; plots.axis draws one"
        )
    if x is not None and x == y:
        raise ValueError(f"plots.heat: x and y are both {x!r}; name two hyperparameters")
    first, second = (
        found.pop(0) if name is None else hyperparameter(sweep, name, scores) for name in named
    )
    return first, second


def _middles(one: Hyperparameter, bounds: np.ndarray) -> np.ndarray:
    return np.sqrt(bounds[1:] * bounds[:-1]) if one.log else (bounds[1:] + bounds[:-1]) / 2
