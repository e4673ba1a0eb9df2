"""Lanes: what takes the same batches in the same rounds, at one size. Data on the host are read and
sent once for all members of a lane."""

from __future__ import annotations

import enum
from typing import NamedTuple

from vtune.engine import stepping as steps
from vtune.engine.cohort_groups import Group, batch_groups, groups
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.stepping import Stepping

START = 0  # the number of the stage that makes the members


class Stage(enum.IntEnum):
    """What a call does with a lane's round; one after the other in this order."""

    BEGIN = 0  # refine
    TRAIN = 1  # a chunk of steps; as often as there are chunks
    TRAINED = 2  # what comes between training and scoring
    SCORE = 3  # some validation batches; as often as there are more
    END = 4  # metrics, scores, what is recorded


class Lane(NamedTuple):
    """Groups of cohorts that take the same batches, over rounds in which they keep their size.

    Attributes:
      groups: who. places: their numbers among all groups.
      size: the leading slots in use where the population shrinks; None for all.
      before: the slots that were in use before this lane's first round.
      first, stop: rounds [first, stop).
    """

    groups: tuple[Group, ...]
    places: tuple[int, ...]
    size: int | None
    before: int | None
    first: int
    stop: int

    @property
    def cohort(self) -> CohortPlan:
        """The plan of any of its cohorts."""
        return self.groups[0].cohort

    @property
    def shrinks_first(self) -> bool:
        """Whether members are dropped as it begins."""
        return self.size is not None and self.size != self.before


def lanes(plan: Plan) -> tuple[Lane, ...]:
    """Returns the lanes of a plan, in the order in which the rounds of one take place."""
    all_groups = groups(plan)
    number_of = {group.indices: number for number, group in enumerate(all_groups)}
    found = []
    for batch_group in batch_groups(all_groups):
        places = tuple(number_of[group.indices] for group in batch_group)
        cohort = batch_group[0].cohort
        if not cohort.shrinks:
            found.append(Lane(batch_group, places, None, None, 0, plan.rounds))
            continue
        done, before = 0, cohort.size
        for rung in cohort.rungs:
            stop = done + rung.rounds
            if stop > plan.past:
                found.append(Lane(batch_group, places, rung.size, before, done, stop))
            done, before = stop, rung.size
    return tuple(found)


def stage_number(lane: int, stage: Stage) -> int:
    """Returns the number of a lane's stage in the program, see `START`."""
    return START + 1 + lane * len(Stage) + stage


class Reading(NamedTuple):
    """How many batches a lane is sent at a time.

    Attributes:
      steps: training batches of a chunk. even: whether all chunks are full.
      refreshing: training batches before scoring.
      scoring: validation batches at a time, out of so many `batches`.
    """

    steps: int
    even: bool
    refreshing: int
    scoring: int
    batches: int


def reading(plan: Plan, stepping: Stepping) -> Reading:
    """Returns how many batches are sent at a time to those of a lane."""
    data, cohort = stepping.data, stepping.cohort
    assert data is not None
    assert plan.eval_batch_size is not None
    batches = -(-data.valid_rows // plan.eval_batch_size)
    most = max(1, steps.GATHER_BYTES // max(1, data.row_bytes * plan.eval_batch_size))
    refreshing = 0 if plan.learner.refresh is None else plan.learner.refresh_batches
    return Reading(
        stepping.chunks.chunk,
        stepping.periods() is not None,
        min(refreshing, cohort.steps_per_epoch or refreshing),
        min(batches, most),
        batches,
    )


def rows_needed(reading: Reading, batch_size: int, eval_batch_size: int) -> int:
    """Returns the rows that a window must hold for a lane."""
    training = max(reading.steps, reading.refreshing, 1) * batch_size
    return max(training, reading.scoring * eval_batch_size)
