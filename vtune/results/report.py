"""What is told of a sweep while it runs: to callbacks, and in its progress.

The arrays of a report are those of the sweep's history, made by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from vtune.engine.carry import EarlierRun
from vtune.engine.early_stopping import final_population
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.identity import handed_out
from vtune.results.history import join
from vtune.results.member import setting
from vtune.runtime.watch import Standing
from vtune.search.base import Cohort
from vtune.space.space import Combination, Space
from vtune.types import PyTree


@dataclass(frozen=True)
class Best:
    """The member that leads, as `sweep.best` would be.

    Attributes:
      index: its number in the first population.
      score: its last value of the metric that members are compared by.
      hparams: by name, as plain Python values.
    """

    index: int
    score: float
    hparams: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Run:
    """A sweep before its first round, as callbacks are told of it.

    Attributes:
      space: the checked space.
      hparams: every member's hyperparameters, as plain Python values, before the first round.
      plan: in words.
      first: the rounds done before: 0, or those of the sweep that is extended or goes on.
      rounds: how many there are to the end.
      metric_name, mode: what members are compared by, as in a `Sweep`.
      changing: names of the hyperparameters that the refiner may change.
      seed: of the whole sweep.
      planned: members in all, of generations that are still to come as well.
      generation: of a search by generations, which of them begins; else 0.
    """

    space: Space
    hparams: tuple[dict[str, Any], ...]
    plan: str
    first: int
    rounds: int
    metric_name: str
    mode: str
    changing: tuple[str, ...]
    seed: int
    planned: int
    generation: int = 0

    def __len__(self) -> int:
        return len(self.hparams)


@dataclass(frozen=True, eq=False)
class Report:
    """The rounds [first, stop) of a sweep, as callbacks are told of them.

    Attributes:
      first, stop: rounds count from 0.
      rounds: how many there are to the end.
      history: metric by name, `[new rounds, members, ...]`, as in `sweep.history`.
      settings: traced hyperparameters by name, `[new rounds, members]`, as in `sweep.settings`.
      parents: `[new rounds, members]`, as in `sweep.parents`.
      trained: `[new rounds, members]`, whether the member was trained in that round: not where it
        was dropped or had stopped before.
      scores: `[members]`, the last ones, higher is better, -inf where there is no finite one.
      best: the member that leads; None where no member has a finite score.
      seconds: what these rounds took.
      combinations: by member, with its structural choices; see `hparams`.
    """

    first: int
    stop: int
    rounds: int
    history: dict[str, np.ndarray]
    settings: dict[str, np.ndarray]
    parents: np.ndarray
    trained: np.ndarray
    scores: np.ndarray
    best: Best | None
    seconds: float
    combinations: tuple[Combination, ...] = field(repr=False)

    @property
    def round(self) -> int:
        """The last of these rounds."""
        return self.stop - 1

    def hparams(self, member: int, round: int | None = None) -> dict[str, Any]:
        """A member's hyperparameters as plain Python values, structural ones too.

        Args:
          round: one of these rounds that the member was trained in; the last when left out.
        """
        row = -1 if round is None else round - self.first
        combination = self.combinations[member]
        now = {
            name: distribution.report(distribution.cast([self.settings[name][row, member]])[0])
            for name, distribution in combination.traced.items()
        }
        return {name: handed_out(v) for name, v in {**combination.static, **now}.items()}


def run_of(
    plan: Plan,
    space: Space,
    cohorts: tuple[Cohort, ...],
    refiner: Any,
    seed: int,
    first: int,
    past: EarlierRun | None,
) -> Run:
    """Returns what is told of a sweep before its first round.

    Args:
      first: the rounds done before. past: of an extended sweep, what it was.
    """
    now: tuple[Any, ...] = cohorts if past is None else past.populations
    members = {
        int(id): setting(space, cohort, population.hparams, slot)
        for cohort, population in zip(cohorts, now, strict=True)
        for slot, id in enumerate(np.asarray(population.id))
    }
    keeps = getattr(refiner, "idle", False) or getattr(refiner, "keeps_hparams", False)
    traced = {name for cohort in cohorts for name in cohort.combination.traced}
    metric = plan.metric if isinstance(plan.metric, str) else "score"
    steps = max(cohort.steps for cohort in plan.cohorts)
    words = [
        f"{len(members)} members",
        *([f"{len(cohorts)} structural combinations"] if len(cohorts) > 1 else []),
        *([] if getattr(refiner, "idle", False) else [f"refined by {type(refiner).__name__}"]),
        f"{plan.rounds} rounds, {steps} steps",
        f"compared by {metric} ({plan.mode})",
    ]
    return Run(
        space=space,
        hparams=tuple(members[id] for id in sorted(members)),
        plan=", ".join(words),
        first=first,
        rounds=plan.rounds,
        metric_name=metric,
        mode=plan.mode,
        changing=() if keeps else tuple(name for name in space.names if name in traced),
        seed=seed,
        planned=len(members),
    )


class Reports:
    """Makes the report of each segment. Holds the history so far, so that no round is read twice.

    Args:
      space: the checked space of the sweep. cohorts: as drawn.
    """

    def __init__(self, space: Space, cohorts: tuple[Cohort, ...]):
        self._space = space
        combinations = {int(id): c.combination for c in cohorts for id in c.id}
        self._combinations = tuple(combinations[id] for id in sorted(combinations))
        self._past: EarlierRun | None = None

    def report(self, standing: Standing, seconds: float) -> Report:
        """Returns the report of the segment that was just run; `seconds` is what it took."""
        plan, carry, first, done = standing.plan, standing.carry, standing.first, standing.done
        populations = on_the_host(carry)
        past = self._past or standing.past
        records = join(plan, standing.cohorts, carry, done, past)
        self._past = EarlierRun(records, populations, None)
        new = lambda arrays: {name: values[first:done].copy() for name, values in arrays.items()}
        return Report(
            first=first,
            stop=done,
            rounds=standing.rounds,
            history=new(records.history),
            settings=new(records.settings),
            parents=records.parents[first:done].copy(),
            trained=records.trained[first:done].copy(),
            scores=_by_column(populations, [final_score(plan, p) for p in populations]),
            best=leader(plan, self._space, standing.cohorts, populations, done),
            seconds=seconds,
            combinations=self._combinations,
        )


def on_the_host(carry: PyTree) -> tuple[Population, ...]:
    """Returns copies of the cohorts' populations without their states."""

    def copy(population: Population) -> Population:
        best = population.best if population.best is None else population.best._replace(state=None)
        small = population._replace(state=None, best=best)
        return jax.tree.map(lambda leaf: np.array(jax.device_get(leaf)), small)

    return tuple(copy(cohort.population) for cohort in carry)


def final_score(plan: Plan, population: Population) -> np.ndarray:
    """Returns the scores that a population would have if the sweep ended now, [pop]."""
    return np.asarray(final_population(plan, population).score, np.float64)


def in_use(plan: Plan, rounds: int) -> list[int]:
    """Returns by cohort how many slots the last of `rounds` rounds had: those not dropped."""
    sizes = []
    for cohort in plan.cohorts:
        ends = np.cumsum([rung.rounds for rung in cohort.rungs])
        sizes.append(cohort.rungs[int(np.searchsorted(ends, rounds))].size)
    return sizes


def alive(plan: Plan, populations: tuple[Population, ...], rounds: int) -> int:
    """Returns how many members were not dropped, did not stop and did not diverge."""
    count = 0
    for population, size in zip(populations, in_use(plan, rounds), strict=True):
        over = population.died >= 0
        if population.stopped is not None:
            over = over | (population.stopped >= 0)
        count += int((~over[:size]).sum())
    return count


def leader(
    plan: Plan,
    space: Space,
    cohorts: tuple[Cohort, ...],
    populations: tuple[Population, ...],
    rounds: int,
) -> Best | None:
    """Returns the best of the members that were not dropped; None without a finite score.

    Args:
      populations: by cohort, after so many rounds, on the host.
    """
    populations = tuple(final_population(plan, population) for population in populations)
    scores = [np.array(population.score, np.float64) for population in populations]
    for score, size in zip(scores, in_use(plan, rounds), strict=True):
        score[size:] = -np.inf
    by_column = _by_column(populations, scores)
    column = int(by_column.argmax())
    if not np.isfinite(by_column[column]):
        return None
    index = int(np.sort(np.concatenate([population.id for population in populations]))[column])
    cohort = next(c for c, population in enumerate(populations) if index in population.id)
    slot = int(np.flatnonzero(populations[cohort].id == index)[0])
    hparams = setting(space, cohorts[cohort], populations[cohort].hparams, slot)
    return Best(index, plan.sign * float(by_column[column]), hparams)


def _by_column(populations: tuple[Population, ...], values: list[np.ndarray]) -> np.ndarray:
    """Returns values by slot of every cohort as one vector, [members]."""
    ids = np.concatenate([population.id for population in populations])
    return np.concatenate(values)[np.argsort(ids)]
