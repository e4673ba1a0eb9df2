"""Parallel coordinates: every member as one line through all of its hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import panels, plain, say
from vtune.plots.hyperparameters import Hyperparameter, chosen
from vtune.plots.marks import BEST, EDGE, FAILED, INK, RANKS, faint, legend, limits
from vtune.plots.scores import Scores, scores_of
from vtune.results.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 256  # of more members some are drawn
BRIGHT = 64  # of them the best


def parallel(
    sweep: Sweep,
    names: str | Sequence[str] | None = None,
    *,
    metric: str | None = None,
    mode: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draws every member as a line across its hyperparameters to its score: what goes together?

    Each axis runs from one end of a hyperparameter's range to the other, on its own scale. Colours
    are ranks, the better the brighter and the wider, and the best member is drawn in full. Members
    that diverged or have no score are dashed and end in a × below the axis of scores. Of more than
    256 members the 64 best are drawn, and of the others every so many, which the title says.

    Args:
      names: of the hyperparameters; all that vary when left out (of more than 12, the 12 that the
        scores depend on most, which the figure says).
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      mode: "max" or "min", where it is not known for this metric.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric or hyperparameter.
      ImportError: matplotlib is not installed (the extra `plot`).

    Parallel coordinates are Inselberg's (1985).
    """
    scores = scores_of("parallel", sweep, metric, mode)
    shown, said = chosen("parallel", sweep, names, scores)
    figure, (axes,) = panels("parallel", 1, ax, (max(6.0, 1.1 * (len(shown) + 2)), 4.2))
    low, high = limits(scores.best[~scores.failed], scores.mode)
    heights = [one.unit(one.jittered() if one.choices else one.at) for one in shown]
    last = np.clip((scores.best - low) / (high - low), 0, 1)
    last = np.where(scores.failed, -0.06 if scores.mode != "min" else 1.06, last)
    _draw_lines(axes, np.column_stack([*heights, last]), scores)
    for place, one in enumerate(shown):
        _draw_ticks(axes, place, one)
    for share in np.linspace(0, 1, 5):
        axes.text(
            len(shown) + 0.03, share, f"{low + share * (high - low):.3g}", fontsize="x-small",
            va="center", color=EDGE,
        )  # fmt: skip
    axes.axvline(len(shown), color=EDGE, linewidth=1)
    names_shown = [*(plain(one.name) for one in shown), scores.label]
    turned: dict[str, Any] = (
        {"rotation": 20, "ha": "right"} if max(map(len, names_shown)) > 14 else {}
    )
    axes.set_xticks(range(len(names_shown)), names_shown, **turned)
    axes.set(xlim=(-0.15, len(shown) + 0.35), ylim=(-0.1, 1.1), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    lines = int((~scores.failed).sum())
    if lines > LINES:
        said += f"\n{LINES} of {lines:,} members, the {BRIGHT} best among them"
    axes.set_title(said.strip(), fontsize="small")
    if scores.failed.all():
        say(axes, f"no member has a finite {scores.shown}")
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if ax is None else {}
    legend(axes, **beside)
    return figure


def _draw_lines(axes: Axes, heights: np.ndarray, scores: Scores) -> None:
    """Draws [members, axes] heights as lines, the worst first; gaps where a member has no value."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    places = np.arange(heights.shape[1])
    order, failed, count = _shown(scores)
    if len(failed):
        axes.add_collection(
            LineCollection(
                [np.column_stack([places, heights[i]]) for i in failed], colors=FAILED,
                linestyles="dashed", linewidths=0.7, alpha=faint(len(failed)),
                label=f"{count} diverged or without a score",
            )
        )  # fmt: skip
        axes.plot(np.full(len(failed), places[-1]), heights[failed, -1], "x", color=FAILED, ms=5)
    if not len(order):
        return
    share = np.linspace(0, 1, len(order)) if len(order) > 1 else np.ones(1)
    colors = colormaps[RANKS](share)
    from_best = np.arange(len(order))[::-1]
    stands_out = np.exp(-from_best / 5)
    colors[:, 3] = np.clip(faint(len(order)) + 0.6 * stands_out, 0, 1)
    axes.add_collection(
        LineCollection(
            [np.column_stack([places, heights[i]]) for i in order], colors=colors,
            linewidths=0.5 + stands_out,
        )
    )  # fmt: skip
    if scores.winner is not None and not scores.failed[scores.winner]:
        best = scores.winner
        axes.plot(
            places, heights[best], "-*", color=BEST, linewidth=2, markersize=9, zorder=4,
            label=scores.winner_label,
        )  # fmt: skip


def _shown(scores: Scores) -> tuple[np.ndarray, np.ndarray, int]:
    """The members to draw, the worst first; those that failed; how many of these there are.

    Of more than `LINES` members the best are drawn, and of the others every so many.
    """
    good = np.flatnonzero(~scores.failed)
    order, failed = (
        good[np.argsort(scores.worth[good], kind="stable")],
        np.flatnonzero(scores.failed),
    )
    count = len(failed)
    if len(order) > LINES:
        others = np.linspace(0, len(order) - BRIGHT, LINES - BRIGHT, endpoint=False).astype(int)
        order = np.concatenate([order[others], order[-BRIGHT:]])
    if count > BRIGHT:
        failed = failed[np.linspace(0, count, BRIGHT, endpoint=False).astype(int)]
    return order, failed, count


def _draw_ticks(axes: Axes, place: int, one: Hyperparameter) -> None:
    """Draws one upright axis, with its ends, or its choices, written beside it."""
    axes.axvline(place, color=EDGE, linewidth=1, zorder=1)
    if one.choices is not None:
        every = max(len(one.choices) // 8, 1)
        ticks = [(float(i), text) for i, text in enumerate(one.choices)][::every]
    else:
        low, high = one.ends
        middle = (low * high) ** 0.5 if one.log else (low + high) / 2
        ticks = [(value, f"{value:.3g}") for value in dict.fromkeys((low, middle, high))]
    for value, text in ticks:
        axes.text(
            place + 0.03, float(one.unit(np.array(value))), text, fontsize="x-small", va="center",
            color=INK, zorder=5, bbox={"facecolor": "white", "alpha": 0.6, "lw": 0, "pad": 0.4},
        )  # fmt: skip
