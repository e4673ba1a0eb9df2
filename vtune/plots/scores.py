"""One metric of a sweep as the plots read it, with the checks of what a user asks for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtune.metrics.modes import check_mode, nearest
from vtune.plots.canvas import plain
from vtune.results.no_score import no_finite_score
from vtune.results.sweep import Sweep
from vtune.results.table import mode_of, peak


@dataclass(frozen=True, eq=False)
class Scores:
    """The values of one metric.

    Attributes:
      name: of the metric. mode: "max" or "min"; None where nobody said whether higher is better.
      values: [rounds, members] float64; NaN where there is no finite value.
      died: [members] whether a member has diverged.
      index: of the member `winner`.
      winner: column of the sweep's best member; None where none has a finite score.
    """

    name: str
    mode: str | None
    values: np.ndarray
    died: np.ndarray
    winner: int | None
    index: int | None

    @functools.cached_property
    def best(self) -> np.ndarray:
        """[members] the best value over the training; NaN where there is none."""
        return peak(self.values, self.mode or "max")[0]

    @functools.cached_property
    def best_round(self) -> np.ndarray:
        """[members] the round of it; -1 where there is none."""
        return peak(self.values, self.mode or "max")[1]

    @property
    def sign(self) -> float:
        """What values are multiplied by, so that higher is better."""
        return -1.0 if self.mode == "min" else 1.0

    @property
    def worth(self) -> np.ndarray:
        """[members] best values, higher is better; -inf for those that diverged or have none."""
        return np.where(self.failed, -np.inf, self.sign * self.best)

    @property
    def failed(self) -> np.ndarray:
        """[members] whether a member diverged or never had a finite value."""
        return self.died | np.isnan(self.best)

    @property
    def winner_label(self) -> str:
        """What the best member is called, which another may have beaten on the way."""
        return f"member {self.index}, the best at the end"

    @property
    def label(self) -> str:
        """What the axis of best values is called."""
        return f"best {self.shown}" if len(self.values) > 1 else self.shown

    @property
    def shown(self) -> str:
        """The metric's name as it is drawn."""
        return plain(self.name)


def check_sweep(caller: str, sweep: Any) -> None:
    """Raises TypeError unless it is a sweep."""
    if not isinstance(sweep, Sweep):
        raise TypeError(
            f"plots.{caller}: {type(sweep).__name__} is not a sweep; give what vt.tune, vt.load or "
            "vt.read returns"
        )


def scores_of(
    caller: str,
    sweep: Sweep,
    metric: str | None = None,
    mode: str | None = None,
    needs_mode: bool = True,
) -> Scores:
    """Returns the values of a metric; the one that members are compared by when it is None.

    Raises:
      TypeError: not a sweep. ValueError: no such metric; nobody said whether higher is better and
        the plot must know.
    """
    check_sweep(caller, sweep)
    trained = sweep.trained
    name = sweep.metric_name if metric is None else metric
    known = [key for key, values in sweep.history.items() if values.ndim == 2]
    if name not in known:
        if isinstance(name, str) and name in sweep.history:
            raise ValueError(
                f"plots.{caller}: metric={name!r} is an array in every round; write one of {known}"
            )
        near = nearest(name, known) if isinstance(name, str) else None
        raise ValueError(
            f"plots.{caller}: metric={name!r} is not one of {known}"
            + (f"; did you mean {near!r}?" if near else "")
        )
    if mode is not None:
        check_mode(mode)
    mode = mode or mode_of(trained, name)
    if mode is None and needs_mode:
        raise ValueError(
            f"plots.{caller}: whether higher values of {name!r} are better is not known; write "
            'mode="max" or mode="min"'
        )
    values = np.array(sweep.history[name], np.float64)
    values[~np.isfinite(values)] = np.nan
    winner = winner_of(sweep)
    if winner is not None and np.isnan(values[:, winner]).all():
        winner = None  # has no value of this metric
    index = None if winner is None else sweep[winner].index
    return Scores(name, mode, values, died(sweep), winner, index)


def died(sweep: Sweep) -> np.ndarray:
    """Returns for every member whether it has diverged."""
    trained = sweep.trained
    steps = [np.asarray(population.died) for population in trained.populations]
    return np.array([steps[cohort][slot] >= 0 for cohort, slot in trained.places])


def winner_of(sweep: Sweep) -> int | None:
    """Returns the column of the best member; None where no member has a finite score."""
    if no_finite_score(sweep.trained) is not None:
        return None
    return int(sweep.ranking[0])


def member_of(sweep: Sweep, member: int | None) -> int | None:
    """Returns the column of a member that the user names, the best one's for None; None if there
    is no best one.

    Raises:
      TypeError, IndexError: no such member.
    """
    return winner_of(sweep) if member is None else sweep._column(member)
