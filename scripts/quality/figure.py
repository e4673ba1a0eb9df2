"""The figure: mean ranks with the critical difference, and what is found by when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ranks


def draw(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    colours = dict(zip(found["methods"], plt.get_cmap("tab10").colors, strict=False))
    _ranks(left, found, colours)
    _curves(right, found, colours)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _ranks(axes: Any, found: dict[str, Any], colours: dict[str, Any]) -> None:
    """Demšar's diagram: methods on a line of mean ranks; bars join those that chance may order."""
    own = ranks.ranks(found["best"].mean(axis=2))
    order = np.argsort(own.mean)
    bars = ranks.groups(own.mean, own.critical)
    for row, m in enumerate(order):
        name, y = found["methods"][m], -1 - row - 0.4 * len(bars)
        axes.plot([own.mean[m]] * 2, [0, y], color=colours[name], lw=1)
        axes.plot(own.mean[m], y, "o", color=colours[name])
        axes.annotate(
            f"{name}  {own.mean[m]:.2f}",
            (own.mean[m], y),
            (7, -3),
            textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
    for row, (first, last) in enumerate(bars):
        ends = own.mean[order[[first, last]]] + [-0.04, 0.04]
        axes.plot(ends, [-0.4 - 0.4 * row] * 2, color="black", lw=3, solid_capstyle="butt")
    axes.plot([1, 1 + own.critical], [1.6, 1.6], color="black", lw=1.5, marker="|")
    axes.text(1, 1.8, f"critical difference {own.critical:.2f}")
    axes.set(xlim=(0.8, len(order) + 1), ylim=(-1.5 - len(order) - 0.4 * len(bars), 2.5), yticks=[])
    axes.spines["top"].set_position(("data", 0))
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_ticks_position("top")
    axes.set_xticks(range(1, len(order) + 1))
    axes.set_xlabel(f"mean rank over {own.tasks} tasks, {found['seeds']} seeds each; 1 is best")


def _curves(axes: Any, found: dict[str, Any], colours: dict[str, Any]) -> None:
    points = found["curves"].shape[2]
    spent = np.arange(1, points + 1) / points
    for m, name in enumerate(found["methods"]):
        curve = found["curves"][:, m].mean(axis=0)  # NaN until every task and seed has something
        axes.plot(spent, curve, color=colours[name], label=name)
    axes.set(
        xlabel="part of the budget spent, in member-steps", ylabel="normalised loss", yscale="log"
    )
    axes.set_xlim(0, 1)
    axes.legend(fontsize=8)
