"""Hyperparameter axis plots: the best score of every member against each hyperparameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.plots.canvas import panels, say
from vtune.plots.hyperparameters import Hyperparameter, chosen
from vtune.plots.marks import beyond, diverged, legend, limits, points, star, unscored
from vtune.plots.scores import Scores, scores_of
from vtune.results.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def axis(
    sweep: Sweep,
    names: str | Sequence[str] | None = None,
    *,
    metric: str | None = None,
    mode: str | None = None,
    ax: Any = None,
) -> Figure:
    """Draws every member's best score against each hyperparameter: is the range right?

    A panel a hyperparameter. Dotted lines are the ends of its range; where the good members
    crowd at one of them, the range should be moved. A × at the edge is a member that diverged, a
    triangle one that is worse than the scale shows, the star `sweep.best`. Choices are spread a
    little. A hyperparameter that a refiner changed has the value of the round of the best score.

    Args:
      names: of the hyperparameters; all that vary when left out (of more than 12, the 12 that the
        scores depend on most, which the figure says).
      metric: a name of `sweep.history`; the one that members are compared by when left out.
      mode: "max" or "min", where it is not known for this metric.
      ax: matplotlib axes, one a hyperparameter; a new figure when left out.

    Raises:
      ValueError: no such metric or hyperparameter, another number of axes.
      ImportError: matplotlib is not installed (the extra `plot`).

    Hyperparameter axis plots are those of Godbole et al., "Deep Learning Tuning Playbook" (2023).
    """
    scores = scores_of("axis", sweep, metric, mode)
    shown, said = chosen("axis", sweep, names, scores)
    figure, every = panels("axis", len(shown), ax)
    for number, (axes, one) in enumerate(zip(every, shown, strict=True)):
        scatter(axes, one, scores)
        if number == 0:
            legend(axes)
    if said and ax is None:
        figure.suptitle(said, fontsize="medium")
    return figure


def scatter(axes: Axes, one: Hyperparameter, scores: Scores) -> None:
    """Draws the members' best scores against one hyperparameter, and all marks."""
    at, best, good = one.jittered(), scores.best, ~scores.failed
    axes.set(ylabel=scores.label, ylim=limits(best[good], scores.mode))
    one.draw_axis(axes)
    points(axes, at[good], best[good])
    if scores.winner is not None:
        star(axes, at[scores.winner], best[scores.winner], scores.winner_label)
    beyond(axes, at[good], best[good], scores.mode)
    diverged(axes, at[scores.died], scores.mode)
    unscored(axes, at[scores.failed & ~scores.died], scores.mode)
    if not good.any():
        say(axes, f"no member has a finite {scores.shown}")
    lacking = int(np.isnan(one.at).sum())
    if lacking:
        axes.set_title(f"{lacking} of {len(at)} members have none", fontsize="small")
