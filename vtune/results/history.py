"""The history of a sweep: what the cohorts recorded, as arrays [rounds, members] on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Everything recorded, by round and member; a member's column is its place in the first
    population.

    Attributes:
      history: metric by name, [rounds, members, ...]; NaN where there is none.
      settings: traced hyperparameters by name, [rounds, members], as trained with; NaN where a
        member was dropped or has no such hyperparameter.
      parents: [rounds, members] int32, the column whose weights the member continued in that
        round; -1 in the rounds after it was dropped.
      ends: [members] int32, the rounds that the weights a member holds were trained for.
      stopped: [members] int32, the round a member stopped after by itself, or -1.
      budgets: [members] int32, the rounds a member was planned to train.
    """

    history: dict[str, np.ndarray]
    settings: dict[str, np.ndarray]
    parents: np.ndarray
    ends: np.ndarray
    stopped: np.ndarray
    budgets: np.ndarray

    @property
    def lived(self) -> np.ndarray:
        """[members] the rounds that each member was trained for."""
        return np.sum(self.parents >= 0, axis=0)

    @property
    def trained(self) -> np.ndarray:
        """[rounds, members] whether a member was trained in a round: not once it was dropped or
        had stopped."""
        rounds = np.arange(len(self.parents))[:, None]
        return (self.parents >= 0) & ((self.stopped < 0) | (rounds <= self.stopped))

    @property
    def rungs(self) -> list[tuple[int, int]]:
        """(members, rounds by its end) of every rung, all cohorts together."""
        alive = np.sum(self.parents >= 0, axis=1)
        last = np.flatnonzero(np.diff(alive, append=-1))
        return [(int(alive[number]), int(number) + 1) for number in last]

    def lineage(self, column: int) -> np.ndarray:
        """[rounds] the columns where the weights that a member holds stood, round by round."""
        path, end = [], int(self.ends[column])
        for number in range(int(self.lived[column]) - 1, -1, -1):
            if number < end:
                path.append(column)
            column = int(self.parents[number, column])
        return np.array(path[::-1], np.int32)


class Move(NamedTuple):
    """Who stood where in one round of a cohort.

    Attributes:
      round: its number. columns: [slots] the member in each slot. parents: [slots] the member
        whose weights each slot continued.
    """

    round: int
    columns: np.ndarray
    parents: np.ndarray


def join(
    plan: Plan, cohorts: tuple[Cohort, ...], carry: Any, rounds: int, past: EarlierRun | None = None
) -> Records:
    """Merges what the cohorts recorded by slot into arrays by member.

    Args:
      carry: by cohort, what the program returned. rounds: so many were run.
      past: what earlier rounds left: those of an extended sweep, which the carry does not record,
        or those that were joined before.
    """
    begun = 0 if past is None else len(past.records.parents)
    ids = sorted(int(id) for cohort in cohorts for id in cohort.id)
    column_of = {id: column for column, id in enumerate(ids)}
    shape = (rounds, len(ids))
    records: list[Record] = [jax.device_get(cohort.record) for cohort in carry]
    first_ids = [np.asarray(c.id) for c in (cohorts if past is None else past.populations)]
    columns = [np.array([column_of[int(id)] for id in cohort_ids]) for cohort_ids in first_ids]
    moves = [
        list(_moves(cohort, first, record.parents, begun, rounds))
        for cohort, first, record in zip(plan.cohorts, columns, records, strict=True)
    ]

    parents = np.full(shape, -1, np.int32)
    for move in (move for cohort_moves in moves for move in cohort_moves):
        parents[move.round, move.columns] = move.parents
    if past is not None:
        parents[:begun] = past.records.parents
    held = TrainingEnds(*np.zeros((3, len(ids)), np.int32))
    for cohort, first, left in zip(plan.cohorts, columns, carry, strict=True):
        in_slots = first  # where they stay: the ids of a trajectory are not those of slots
        if cohort.shrinks:
            in_slots = np.array([column_of[int(id)] for id in np.asarray(left.population.id)])
        for by_member, by_slot in zip(
            held, training_ends(plan, cohort, left.population, rounds), strict=True
        ):
            by_member[in_slots] = by_slot
    lived = np.sum(parents >= 0, axis=0)  # a dropped member's weights end where it was dropped
    return Records(
        _history(plan, [record.metrics for record in records], moves, shape, past, held.stopped),
        _settings([record.hparams for record in records], moves, shape, past, held.stopped),
        parents,
        np.minimum(held.shown + 1, lived).astype(np.int32),
        held.stopped,
        held.budget,
    )


def _history(
    plan: Plan,
    metrics: Sequence[dict[str, np.ndarray]],
    moves: list[list[Move]],
    shape: tuple[int, int],
    past: EarlierRun | None,
    stopped: np.ndarray,
) -> dict[str, np.ndarray]:
    """Metrics by member: those of the validation rows first, each group by name.

    Args:
      stopped: see `Records`; a member has no metrics after that round.
    """
    history = _by_member(metrics, moves, shape)
    for values in history.values():
        values[_after(stopped, shape[0])] = np.nan
    names = sorted(history, key=lambda name: (name.startswith("train/"), name))
    history = {name: history[name] for name in names}
    if plan.replicates is not None:
        for name in history:
            if name.endswith(SPLITS) and name.removesuffix(SPLITS) in history:
                history[name] = split_replicates(plan.replicates, history[name], 2)
    if past is not None:
        for name in {*history} & {*past.records.history}:
            history[name][: len(past.records.parents)] = past.records.history[name]
    return history


def _settings(
    hparams: Sequence[dict[str, np.ndarray]],
    moves: list[list[Move]],
    shape: tuple[int, int],
    past: EarlierRun | None,
    stopped: np.ndarray,
) -> dict[str, np.ndarray]:
    """Traced hyperparameters by member: float64 where some are NaN, else in the program's type.

    Args:
      stopped: see `Records`; a member's settings stay after that round.
    """
    settings = _by_member(hparams, moves, shape, np.float64)
    for name, values in settings.items():
        if past is not None:
            values[: len(past.records.parents)] = past.records.settings[name]
        over = _after(stopped, shape[0]) & ~np.isnan(values)
        values[over] = np.broadcast_to(values[stopped, np.arange(shape[1])], shape)[over]
        if not np.isnan(values).any():
            types = [cohort[name].dtype for cohort in hparams if name in cohort]
            settings[name] = values.astype(np.result_type(*types))
    return settings


def _after(stopped: np.ndarray, rounds: int) -> np.ndarray:
    """Returns whether a member had stopped before a round, [rounds, members]."""
    return (stopped >= 0) & (np.arange(rounds)[:, None] > stopped)


def _by_member(
    by_slot: Sequence[dict[str, np.ndarray]],
    moves: list[list[Move]],
    shape: tuple[int, int],
    dtype: Any = None,
) -> dict[str, np.ndarray]:
    """Values by name, [rounds, members, ...], from every cohort's [rounds, slots, ...].

    NaN where there is no value.
    """
    merged: dict[str, np.ndarray] = {}
    for values, cohort_moves in zip(by_slot, moves, strict=True):
        for name, leaf in values.items():
            if name not in merged:
                empty = np.full((*shape, *leaf.shape[2:]), np.nan, dtype or leaf.dtype)
                merged[name] = empty
            for move in cohort_moves:
                merged[name][move.round, move.columns] = leaf[move.round, : len(move.columns)]
    return merged


def check_parents(plan: CohortPlan, parents: np.ndarray, first: int, stop: int) -> None:
    """Raises ValueError where a refiner gave parents that cannot be, before rounds [first, stop).

    Args:
      parents: [rounds, slots] as recorded.
    """
    for number, size, there in _sizes(plan, first, stop):
        chosen = parents[number, :size]
        if chosen.min() < 0 or chosen.max() >= there:
            raise ValueError(
                f"the refiner gave parents {chosen.tolist()} before round {number}; there were "
                f"slots 0 to {there - 1}"
            )
        if size < there and len(set(chosen.tolist())) < len(chosen):
            raise ValueError(
                f"the refiner gave parents {chosen.tolist()} before round {number}; where the "
                "population shrinks no slot may be taken twice"
            )


def _sizes(plan: CohortPlan, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yields (round, members in it, members before it) of rounds [first, stop)."""
    sizes = [rung.size for rung in plan.rungs for _ in range(rung.rounds)]
    for number in range(first, stop):
        yield number, sizes[number], sizes[max(number - 1, 0)]


def _moves(
    plan: CohortPlan, columns: np.ndarray, parents: np.ndarray, past: int, rounds: int
) -> Iterator[Move]:
    """Yields the moves of a cohort, one per round from `past` on.

    Args:
      columns: [slots] the members before the first of these rounds.
      parents: [rounds, slots] the slots that were continued, as recorded.

    Raises:
      ValueError: see `check_parents`.
    """
    check_parents(plan, parents, past, rounds)
    for number, size, there in _sizes(plan, past, rounds):
        before = columns[parents[number, :size]]
        columns = before if size < there else columns
        yield Move(number, columns[:size], before)
