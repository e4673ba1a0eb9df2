"""What the cohorts observed, as arrays [rounds, members]. On the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from vtune.engine.carry import EarlierRun
from vtune.engine.early_stopping import TrainingEnds, training_ends
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Record
from vtune.engine.recording import SPLITS
from vtune.engine.replicates import split_replicates
from vtune.search.base import Cohort


class Records(NamedTuple):
    """By round and member; a member's column is its place in the first population.

    Attributes:
      history: metric by name, [rounds, members, ...]; NaN where there is none.
      settings: traced hyperparameters by name, [rounds, members], as trained with; NaN where a
        member was dropped or has no such hyperparameter.
      parents: [rounds, members] int32, the column whose weights the member went on from in that
        round; -1 from the round on that it was dropped before.
      ends: [members] int32, the rounds that the weights a member holds were trained for.
      stopped: [members] int32, the round a member stopped after by itself, or -1.
      budgets: [members] int32, the rounds it was to be trained.
    """

    history: dict[str, np.ndarray]
    settings: dict[str, np.ndarray]
    parents: np.ndarray
    ends: np.ndarray
    stopped: np.ndarray
    budgets: np.ndarray

    @property
    def lived(self) -> np.ndarray:
        """[members] rounds that each was trained."""
        return np.sum(self.parents >= 0, axis=0)

    def lineage(self, column: int) -> np.ndarray:
        """[rounds] the columns where the weights of a member stood, round by round."""
        path = []
        for number in range(int(self.ends[column]) - 1, -1, -1):
            path.append(column)
            column = int(self.parents[number, column])
        return np.array(path[::-1], np.int32)


def join(
    plan: Plan, cohorts: tuple[Cohort, ...], carry: Any, rounds: int, past: EarlierRun | None = None
) -> Records:
    """Puts the cohorts' records side by side, by member instead of by slot.

    Args:
      past: where a sweep goes on, what it was; the carry's records are only of what came after.
    """
    ids = sorted(int(i) for cohort in cohorts for i in cohort.id)
    column_of = {id: column for column, id in enumerate(ids)}
    history: dict[str, np.ndarray] = {}
    settings: dict[str, np.ndarray] = {}
    types: dict[str, Any] = {}
    parents = np.full((rounds, len(ids)), -1, np.int32)
    held = TrainingEnds(*np.zeros((3, len(ids)), np.int32))
    begun: Any = cohorts if past is None else past.populations
    for cohort_plan, standing, own in zip(plan.cohorts, begun, carry, strict=True):
        record: Record = jax.device_get(own.record)
        columns = np.array([column_of[int(i)] for i in np.asarray(standing.id)])
        # ids keep to their slots wherever members can stop; elsewhere all slots end alike
        for all_, part in zip(
            held, training_ends(plan, cohort_plan, own.population, rounds), strict=True
        ):
            all_[columns] = part
        for number, now, before in _standing(
            cohort_plan, columns, record.parents, plan.past, rounds
        ):
            size = len(now)
            parents[number, now] = before
            for name, values in record.metrics.items():
                shape = (rounds, len(ids), *values.shape[2:])
                history.setdefault(name, np.full(shape, np.nan, values.dtype))
                history[name][number, now] = values[number, :size]
            for name, values in record.hparams.items():
                types[name] = np.result_type(values.dtype, types.get(name, values.dtype))
                settings.setdefault(name, np.full((rounds, len(ids)), np.nan))
                settings[name][number, now] = values[number, :size]
    if past is not None:
        parents[: plan.past] = past.records.parents
        for name, values in settings.items():
            values[: plan.past] = past.records.settings[name]
    for name, values in settings.items():
        if not np.isnan(values).any():
            settings[name] = values.astype(types[name])
    names = sorted(history, key=lambda name: (name.startswith("train/"), name))
    lived = np.sum(parents >= 0, axis=0)  # a dropped member's weights went as far as it lived
    through = np.minimum(held.shown + 1, lived).astype(np.int32)
    history = {name: history[name] for name in names}
    if plan.replicates is not None:
        for name in history:
            if name.endswith(SPLITS) and name.removesuffix(SPLITS) in history:
                history[name] = split_replicates(plan.replicates, history[name], 2)
    if past is not None:
        for name in {*history} & {*past.records.history}:
            history[name][: plan.past] = past.records.history[name]
    return Records(history, settings, parents, through, held.stopped, held.budget)


def _standing(
    plan: CohortPlan, columns: np.ndarray, parents: np.ndarray, past: int, rounds: int
) -> Any:
    """By round from `past` on: its number, [slots] who stands there, [slots] whose weights they
    went on from.

    Args:
      columns: who stands in the slots before the first of these rounds.
    """
    number = -1
    for rung in plan.rungs:
        for first in (True, *[False] * (rung.rounds - 1)):
            number += 1
            if number < past:
                continue
            if number >= rounds:
                return
            chosen = parents[number, : rung.size]
            shrinking = first and rung.size < len(columns)
            if chosen.min() < 0 or chosen.max() >= len(columns):
                raise ValueError(
                    f"the refiner gave parents {chosen.tolist()} before round {number}; there were "
                    f"slots 0 to {len(columns) - 1}"
                )
            if shrinking and len(set(chosen.tolist())) < len(chosen):
                raise ValueError(
                    f"the refiner gave parents {chosen.tolist()} before round {number}; where the "
                    "population shrinks no slot may be taken twice"
                )
            before = columns[chosen]
            columns = before if shrinking else columns
            yield number, columns[: rung.size], before
