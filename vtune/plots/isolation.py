"""Isolation plots: the best that a value of one hyperparameter allows, the others at their best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.axis import scatter
from vtune.plots.canvas import panels
from vtune.plots.hyperparameters import Hyperparameter, chosen
from vtune.plots.marks import INK, legend
from vtune.plots.scores import Scores, scores_of
from vtune.results.sweep import Sweep
from vtune.validation import check_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def isolation(
    sweep: Sweep,
    names: str | Sequence[str] | None = None,
    *,
    buckets: int = 8,
    metric: str | None = None,
    mode: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draws what a hyperparameter does when all others are tuned for each of its values.

    Its scale is cut into equal buckets (choices and the values of a grid are one each), and the
    best members of the buckets are joined. A flat line is of a hyperparameter that does not matter,
    given the others. Marks are as in `axis`.

    Args:
      names: of the hyperparameters; all that vary when left out (of more than 12, the 12 that the
        scores depend on most, which the figure says).
      buckets: how many parts a range has.
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      mode: "max" or "min", where it is not known for this metric.
      ax: matplotlib axes, one a hyperparameter; a new figure when left out.

    Raises:
      ValueError: no such metric or hyperparameter, another number of axes.
      ImportError: matplotlib is not installed (the extra `plot`).

    Isolation plots are those of Godbole et al., "Deep Learning Tuning Playbook" (2023).
    """
    scores = scores_of("isolation", sweep, metric, mode)
    check_count("plots.isolation: buckets", buckets)
    shown, said = chosen("isolation", sweep, names, scores)
    figure, every = panels("isolation", len(shown), ax)
    for number, (axes, one) in enumerate(zip(every, shown, strict=True)):
        scatter(axes, one, scores)
        members = best_of_buckets(one, scores, buckets)
        axes.plot(
            one.jittered()[members], scores.best[members], "o-", color=INK, markersize=5,
            markerfacecolor="white", linewidth=1.5, zorder=4, label="best of each part",
        )  # fmt: skip
        if one.choices is None:
            for bound in one.bounds(buckets)[1:-1]:
                axes.axvline(bound, color="#e3e3e3", linewidth=0.6, zorder=0)
        if number == 0:
            legend(axes)
    if said and ax is None:
        figure.suptitle(said, fontsize="medium")
    return figure


def best_of_buckets(one: Hyperparameter, scores: Scores, buckets: int) -> np.ndarray:
    """Returns the column of the best member of every bucket that has one, along the scale."""
    inside = one.bucket(buckets)
    members = []
    for number in range(len(one.bounds(buckets)) - 1):
        there = np.flatnonzero((inside == number) & ~scores.failed)
        if len(there):
            members.append(there[np.argmax(scores.worth[there])])
    return np.array(members, int)
