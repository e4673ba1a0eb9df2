"""How the scores of the best members differ between folds and seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.engine.recording import SPLITS
from vtune.plots.canvas import counted, panels, say
from vtune.plots.marks import CROWD, INK, LOOKS, legend, look, missing
from vtune.plots.scores import scores_of
from vtune.results.sweep import Sweep
from vtune.validation import check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def folds(sweep: Sweep, top: int = 10, *, metric: str | None = None, ax: Any = None) -> Figure:
    """Draws the score of every fold and seed of the best members: is the first really better?

    The bar is a member's mean, its whiskers one standard deviation over folds and seeds. Folds
    (seeds, where there is one fold) have a marker each and their means are joined, up to six: lines
    that run side by side say that it is the fold that is hard, and not the setting.

    Args:
      top: how many of the best members, by `sweep.ranking`.
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      ax: matplotlib axes to draw on; a new figure when left out.

    Raises:
      ValueError: no such metric, or every member is a single training.
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    scores = scores_of("folds", sweep, metric, needs_mode=False)
    check_count("plots.folds: top", top)
    splits = sweep.history.get(scores.name + SPLITS)
    if splits is None or splits.ndim != 4:
        raise ValueError(
            "plots.folds: every member is a single training; give vt.tune data=vt.kfold(...) or "
            "seeds=3"
        )
    last = np.asarray(splits[sweep.trained.last_trained], np.float64)
    whole = np.isfinite(last).all(axis=(1, 2)) & ~scores.died
    shown = [i for i in sweep.ranking.tolist() if whole[i]][:top]
    figure, (axes,) = panels("folds", 1, ax, (float(np.clip(3 + 0.15 * len(shown), 6.4, 16)), 4))
    axes.set(xlabel="member, the best first", ylabel=scores.shown)
    if not shown:
        axes.set(xlim=(0, 1), ylim=(0, 1))
        say(axes, f"no member has a finite {scores.shown}")
        missing(axes, scores.died, ~whole)
        legend(axes)
        return figure
    values, places = last[shown], np.arange(len(shown))
    by_fold = values if values.shape[1] > 1 else values.swapaxes(1, 2)
    kind, count = ("fold" if values.shape[1] > 1 else "seed"), by_fold.shape[1]
    for number in range(count):
        style, told = look(number), count <= len(LOOKS)
        x = places + 0.5 * ((number + 0.5) / count - 0.5)
        color = style.color if told else CROWD
        marks = by_fold[:, number]
        axes.plot(
            np.repeat(x, marks.shape[1]), marks.ravel(), style.marker if told else ".",
            color=color, markersize=4.5, alpha=0.9, label=f"{kind} {number}" if told else None,
        )  # fmt: skip
        axes.plot(x, marks.mean(axis=1), color=color, linewidth=0.6, alpha=0.5)
    flat = values.reshape(len(shown), -1)
    axes.errorbar(
        places, flat.mean(axis=1), flat.std(axis=1), fmt="_", color=INK, markersize=16,
        markeredgewidth=2, capsize=3, linewidth=1, zorder=4, label="mean ± std",
    )  # fmt: skip
    _label_members(axes, [str(sweep[i].index) for i in shown])
    said = f"{len(shown)} best of {counted(len(sweep), 'member')}, each of {count} {kind}s"
    said += f" × {by_fold.shape[2]} seeds" if by_fold.shape[2] > 1 else ""
    axes.set(xlim=(-0.6, len(shown) - 0.4))
    if len(said) * 7 <= _points_across(axes):
        axes.set_title(said)
    else:
        axes.set_title(said.replace(", each", ",\neach"), fontsize="small")
    missing(axes, scores.died, ~whole)
    if ax is None:
        legend(axes, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        _room_above(axes, -(-len(axes.get_legend_handles_labels()[1]) // 3))
        legend(
            axes, loc="upper right", ncols=3, handlelength=1.7, handletextpad=0.3, columnspacing=0.6
        )
    return figure


def _label_members(axes: Axes, names: list[str]) -> None:
    """Writes the members' numbers below the axis: upright where there are many, and as many as
    there is room for."""
    room, size = _points_across(axes), 8.5  # of the letters, in points
    turned = len(names) > 12 or sum(len(name) + 1 for name in names) * 6.5 > room
    every = -(-len(names) * size // room) if turned else 1
    places = np.arange(0, len(names), max(int(every), 1))
    axes.set_xticks(places, [names[place] for place in places])
    if turned:
        axes.tick_params(axis="x", rotation=90, labelsize="small")


def _room_above(axes: Axes, lines: int) -> None:
    """Moves the scores down, so that so many lines of a legend cover none of them."""
    height = 0.8 * axes.get_position().height * axes.figure.bbox.height / axes.figure.dpi * 72
    share = min((10 * lines + 8) / height, 0.6)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + (high - low) * share / (1 - share))


def _points_across(axes: Axes) -> float:
    """The width of the axes in points, before a layout makes room for labels."""
    return float(axes.get_position().width * axes.figure.bbox.width / axes.figure.dpi * 72)
