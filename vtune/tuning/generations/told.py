"""Tells callbacks of a search by generations, as of one long run.

Rounds go on from generation to generation, and so do members: the arrays of a report have a column
for every member so far, those of earlier generations without a value.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from vtune.results.member import Member
from vtune.results.report import Best, Report, Reports, Run
from vtune.results.sweep import Sweep
from vtune.results.trained import Trained
from vtune.runtime.watch import Standing
from vtune.search.base import Cohort
from vtune.space.space import Space
from vtune.tuning.callbacks import Callbacks


class TheWhole(Callbacks):
    """Callbacks of a run of several generations.

    Args:
      generations: how many there are to be. rounds: of each. sign: see `Plan`.
    """

    def __init__(
        self, callbacks: tuple[Any, ...], space: Space, generations: int, rounds: int, sign: float
    ):
        super().__init__(callbacks, space, ())
        self._space, self._generations, self._rounds, self._sign = space, generations, rounds, sign

    def next(self, generation: int, cohorts: tuple[Cohort, ...], earlier: Trained | None) -> None:
        """Is called before each generation with its members, and the record of those before."""
        self._reports = Reports(self._space, cohorts)
        self._generation, self._earlier = generation, earlier
        self._before: tuple[Member, ...] = ()
        self._best: Best | None = None
        self._combinations: tuple[Any, ...] = ()
        if earlier is None:
            return
        self._before = tuple(Member(earlier, column) for column in range(len(earlier.places)))
        self._combinations = tuple(earlier.cohorts[c].combination for c, _ in earlier.places)
        best = self._before[int(earlier.ranking[0])]
        if np.isfinite(best.score):
            self._best = Best(best.index, best.score, best.hparams)

    def begin(self, run: Run) -> None:
        done = self._generation * self._rounds
        which = f"generation {self._generation + 1} of {self._generations}"
        whole = dataclasses.replace(
            run,
            hparams=(*(member.hparams for member in self._before), *run.hparams),
            plan=f"{which}: {run.plan}",
            first=done + run.first,
            rounds=self._generations * self._rounds,
            planned=self._generations * len(run.hparams),
            generation=self._generation,
        )
        super().begin(whole)

    def _report(self, standing: Standing, seconds: float) -> Report:
        report = super()._report(standing, seconds)
        done, more = self._generation * self._rounds, len(self._before)
        wide = lambda values: {name: _wider(array, more) for name, array in values.items()}
        before = () if self._earlier is None else self._earlier.scores
        return dataclasses.replace(
            report,
            first=done + report.first,
            stop=done + report.stop,
            rounds=self._generations * self._rounds,
            history=wide(report.history),
            settings=wide(report.settings),
            parents=_wider(np.where(report.parents < 0, -1, report.parents + more), more, -1),
            trained=_wider(report.trained, more, False),
            scores=np.concatenate([before, report.scores]),
            best=self._better(report.best),
            combinations=(*self._combinations, *report.combinations),
        )

    def _better(self, best: Best | None) -> Best | None:
        known = [one for one in (self._best, best) if one is not None]
        return max(known, key=lambda one: self._sign * one.score, default=None)

    def end(self, sweep: Sweep) -> None:
        """One generation's end is not the run's; see `whole`."""

    def whole(self, sweep: Sweep) -> None:
        """Tells the callbacks of the end of the run."""
        super().end(sweep)


def _wider(values: np.ndarray, more: int, fill: Any = np.nan) -> np.ndarray:
    """Returns [rounds, more + members, ...], the new columns first and filled."""
    if not more:
        return values
    dtype = np.float64 if fill is np.nan and values.dtype.kind != "f" else values.dtype
    empty = np.full((len(values), more, *values.shape[2:]), fill, dtype)
    return np.concatenate([empty, values], axis=1)
