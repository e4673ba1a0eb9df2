"""Colours and forms, the same in every plot, and marks of what is special.

The colours are Okabe and Ito's (2008), which the colour-blind tell apart. Whatever has a colour has
a form of its own as well: a line style, a marker, a width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vtune.plots.canvas import DENSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CROWD, INK, EDGE = "#8fa3ad", "#333333", "#666666"
BEST, FAILED = "#d55e00", "#a50026"
LINES = 512  # more members are drawn as bands
RANKS = "cividis"  # a colour map that reads alike to all, and in grey


class Look(NamedTuple):
    """How one of a few lines is told from the others."""

    color: str
    linestyle: Any
    marker: str


LOOKS = (
    Look("#d55e00", "-", "o"),
    Look("#0072b2", "--", "s"),
    Look("#009e73", "-.", "^"),
    Look("#cc79a7", ":", "D"),
    Look("#e69f00", (0, (5, 1, 1, 1, 1, 1)), "v"),
    Look("#56b4e9", (0, (8, 2)), "P"),
)


def look(number: int) -> Look:
    """Returns the look of the n-th line; they come again after six."""
    return LOOKS[number % len(LOOKS)]


def faint(count: int) -> float:
    """Returns the opacity at which so many marks over each other can still be told apart."""
    return float(np.clip(40 / max(count, 1) ** 0.75, 0.08, 0.8))


def limits(values: np.ndarray, mode: str | None) -> tuple[float, float]:
    """Returns the scores worth seeing: all the good ones, of the bad ones no long tail.

    The tail is cut at three times the distance of the median from the best. Without finite values
    the limits are 0 and 1.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high, middle = float(finite.min()), float(finite.max()), float(np.median(finite))
    if mode == "max":
        low = max(low, high - 3 * (high - middle)) if middle < high else low
    elif mode == "min":
        high = min(high, low + 3 * (middle - low)) if middle > low else high
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def points(axes: Axes, x: np.ndarray, y: np.ndarray, **options: Any) -> None:
    """Draws the crowd: one pale point a member."""
    given: dict[str, Any] = {
        "s": 14 if len(x) > 64 else 26,
        "color": CROWD,
        "alpha": faint(len(x)),
        "linewidths": 0,
    } | options
    axes.scatter(x, y, rasterized=len(x) > DENSE, **given)


def bands(axes: Axes, rounds: np.ndarray, values: np.ndarray) -> None:
    """Draws the median of [rounds, members], and the bands that hold a half and nine tenths."""
    held = np.isfinite(values).any(axis=1)
    rounds, values = rounds[held], values[held]
    low, lower, middle, upper, high = np.nanpercentile(values, [5, 25, 50, 75, 95], axis=1)
    if len(rounds) == 1:
        rounds = np.array([rounds[0] - 0.2, rounds[0] + 0.2])
        low, lower, middle, upper, high = (
            np.repeat(one, 2) for one in (low, lower, middle, upper, high)
        )
    axes.fill_between(rounds, low, high, color=CROWD, alpha=0.25, label="nine tenths", lw=0)
    axes.fill_between(
        rounds, lower, upper, color=CROWD, alpha=0.5, label="half of the members", lw=0
    )
    axes.plot(rounds, middle, color="#51666f", linewidth=1, label="median")


def star(axes: Axes, x: float, y: float, label: str | None = None) -> None:
    """Marks the best member."""
    axes.scatter(
        [x], [y], s=130, marker="*", color=BEST, edgecolors="white", linewidths=0.6, zorder=5,
        label=label,
    )  # fmt: skip


def diverged(axes: Axes, x: np.ndarray, mode: str | None, label: bool = True) -> None:
    """Marks members that diverged: a × at the edge where the bad scores are."""
    if len(x):
        axes.scatter(
            x, np.full(len(x), _edge(mode, 0.03)), s=30, marker="x", color=FAILED, linewidths=1.2,
            transform=axes.get_xaxis_transform(), clip_on=False, zorder=4,
            rasterized=len(x) > DENSE, alpha=max(faint(len(x)), 0.3),
            label=f"{len(x)} diverged" if label else None,
        )  # fmt: skip


def unscored(axes: Axes, x: np.ndarray, mode: str | None) -> None:
    """Marks members that have no finite score though they did not diverge: a + at the edge."""
    if len(x):
        axes.scatter(
            x, np.full(len(x), _edge(mode, 0.09)), s=34, marker="+", color=INK, linewidths=1.2,
            transform=axes.get_xaxis_transform(), clip_on=False, zorder=4,
            label=f"{len(x)} without a finite score",
        )  # fmt: skip


def beyond(axes: Axes, x: np.ndarray, y: np.ndarray, mode: str | None) -> None:
    """Marks the points that the limits cut off: a triangle at the edge that they lie behind."""
    low, high = axes.get_ylim()
    out = np.isfinite(y) & ((y < low) | (y > high))
    if out.any():
        axes.scatter(
            x[out], np.full(int(out.sum()), _edge(mode, 0.06)), s=16, color=CROWD, zorder=3,
            marker="^" if mode == "min" else "v", transform=axes.get_xaxis_transform(),
            rasterized=bool(out.sum() > DENSE), label=f"{int(out.sum())} worse than shown",
        )  # fmt: skip


def missing(axes: Axes, died: np.ndarray, failed: np.ndarray) -> None:
    """Counts in the legend who has no place: members that diverged, and others without a value."""
    lost = int((failed & ~died).sum())
    for count, marker, color, what in (
        (int(died.sum()), "x", FAILED, "diverged"),
        (lost, "+", INK, "without a finite score"),
    ):
        if count:
            axes.plot([], [], marker, color=color, label=f"{count:,} {what}")


def edges(axes: Axes, low: float, high: float, along: str = "x") -> None:
    """Draws the two ends of a hyperparameter's range as dotted lines."""
    draw = axes.axvline if along == "x" else axes.axhline
    for value in (low, high):
        draw(value, color=EDGE, linestyle=":", linewidth=1, zorder=1)


def legend(axes: Axes, **options: Any) -> None:
    """Adds a legend where something has a label, where it covers least unless `loc=` is given.

    Where that place is not asked for by name, matplotlib warns on a busy machine that looking for
    it takes long.
    """
    from matplotlib.collections import Collection

    if axes.get_legend_handles_labels()[1]:
        given = {"loc": "best", "fontsize": "x-small", "framealpha": 0.8, "edgecolor": "#cccccc"}
        shown = axes.legend(**(given | options))
        for handle in shown.legend_handles:
            if isinstance(handle, Collection):  # points and lines, pale where there are many
                handle.set_alpha(max(handle.get_alpha() or 1, 0.7))


def _edge(mode: str | None, inside: float) -> float:
    return 1 - inside if mode == "min" else inside
