"""Figures and axes to draw on: new ones, or those that the caller gives. Nothing global."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DENSE = 500  # with more marks than this, an SVG or PDF holds them as pixels


def panels(
    caller: str,
    count: int,
    ax: Any = None,
    size: tuple[float, float] = (4.2, 3.2),
    columns: int = 3,
) -> tuple[Figure, list[Axes]]:
    """Returns a figure and as many axes as a plot has panels.

    Args:
      caller: the plot, for messages. ax: None for a new figure; or matplotlib axes, as many.
      size: of one panel, in inches. columns: at most so many panels beside each other.

    Raises:
      ImportError: matplotlib is not installed (the extra `plot`).
      TypeError, ValueError: `ax` is something else, or another number of axes.
    """
    try:
        from vtune.plots.picture import Picture  # imports matplotlib: slow, and an extra
    except ImportError:
        raise ImportError(f"plots.{caller} needs matplotlib: pip install 'vtune[plot]'") from None
    if ax is not None:
        return _given(caller, count, ax)
    rows = -(-count // columns)
    columns = -(-count // rows)  # four panels are two by two
    figure = Picture(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, [tidied(axis) for axis in axes[:count]]


def tidied(axes: Axes) -> Axes:
    """Takes the upper and the right line away."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def whole_ticks(axes: Axes, along: str = "x") -> None:
    """Puts the ticks of an axis at whole numbers: rounds and counts."""
    from matplotlib.ticker import MaxNLocator

    side = axes.xaxis if along == "x" else axes.yaxis
    side.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def counted(number: int, thing: str) -> str:
    """Returns "1 member", "2 members"."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def plain(text: str, length: int = 28) -> str:
    """Returns a user's name as matplotlib shows it as it is: no formula, and not too long."""
    text = visible(text.replace("\n", " "))
    short = text if len(text) <= length else f"{text[: length - 1]}…"
    return short.replace("$", r"\$")


def say(axes: Axes, text: str) -> None:
    """Writes one line in the middle, in the place of a drawing that cannot be."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#555555",
        zorder=9, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )  # fmt: skip


def _given(caller: str, count: int, ax: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.axes import Axes

    axes = list(np.ravel(ax)) if isinstance(ax, Sequence | np.ndarray) else [ax]
    for one in axes:
        if not isinstance(one, Axes):
            raise TypeError(
                f"plots.{caller}: ax={one!r} is not matplotlib's Axes; give those of "
                "figure.subplots(), or leave ax= out for a new figure"
            )
    if len(axes) != count:
        raise ValueError(
            f"plots.{caller}: ax= has {len(axes)} axes for {count} panels; give {count}"
            + (", or fewer names" if count > 1 else "")
        )
    figure = axes[0].figure
    return getattr(figure, "figure", None) or figure, axes  # a subfigure's own is the whole
