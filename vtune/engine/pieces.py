"""The program of data on the host: what `run` does in one call, in pieces, each with the rows that
it needs.

for each round, for each lane of it:  begin; train, chunk by chunk; score, batch by batch; end
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.engine.apply_refiner import leading_slots, shrink
from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import carries_by_cohort, carries_by_group, groups
from vtune.engine.initialize import starting_carries
from vtune.engine.lanes import START, Lane, Reading, Stage, lanes, reading, stage_number
from vtune.engine.parallel import everywhere
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.engine.scopes import ROUNDS
from vtune.engine.shared_work import shared_step
from vtune.engine.stages import (
    Piece,
    UnderWay,
    begin_round,
    end_round,
    finish_training,
    no_totals,
    score_batches,
    train_chunk,
)
from vtune.engine.stepping import Stepping
from vtune.engine.train_steps import start_progress
from vtune.types import Array

Carried = tuple[tuple[Carry, ...], tuple[UnderWay, ...]]  # by cohort, and by group


def advance(plan: Plan, carried: Carried, piece: Piece, arguments: Arguments) -> Any:
    """Does one piece of a round.

    Returns:
      What is carried, which is donated from call to call, and a number that is there when the
      piece is done.
    """
    carry, under_way = carried

    def start(carries: Any, under_way: Any) -> Any:
        by_cohort = carries_by_cohort(plan, carries)
        return starting_carries(plan, by_cohort, piece.round, arguments), under_way

    state = carries_by_group(plan, carry), under_way
    state = _where(piece.stage == START, start, state)
    for index, lane in enumerate(lanes(plan)):
        for stage in Stage:
            do = functools.partial(_one_stage, plan, lane, stage, piece, arguments)
            state = _where(piece.stage == stage_number(index, stage), do, state)
    carries, under_way = state
    return (carries_by_cohort(plan, carries), under_way), piece.round + 1


def _where(wanted: Array, do: Callable[..., Any], state: Any) -> Any:
    """Returns what a stage makes of the state, where it is wanted.

    It is a loop of one turn or none: a branch would copy all members, in every call.
    """
    return lax.fori_loop(0, wanted.astype(jnp.int32), lambda _, state: do(*state), state)


def nothing_under_way(
    plan: Plan, carries: tuple[Carry, ...], arguments: Arguments
) -> tuple[UnderWay, ...]:
    """Returns by group what is under way before a round.

    Args:
      carries: by group.
    """
    found: dict[int, UnderWay] = {}
    for lane in lanes(plan):
        if found.keys() >= set(lane.places):
            continue
        cohorts = [group.cohort for group in lane.groups]
        populations = [carries[place].population for place in lane.places]
        totals = no_totals(plan, lane, populations, arguments)
        for place, cohort, population, (summed, by_row) in zip(
            lane.places, cohorts, populations, totals, strict=True
        ):
            progress = start_progress(plan, cohort, population, arguments)
            found[place] = UnderWay(progress.died, progress.sums, summed, by_row)
    return tuple(found[place] for place in range(len(groups(plan))))


def _one_stage(
    plan: Plan,
    lane: Lane,
    stage: Stage,
    piece: Piece,
    arguments: Arguments,
    carries: tuple[Carry, ...],
    under_way: tuple[UnderWay, ...],
) -> Any:
    """Does one stage of a lane, on its leading slots where it shrinks."""
    own = [carries[place] for place in lane.places]
    if stage == Stage.BEGIN and lane.shrinks_first:
        own = [_shrunk(plan, lane, piece.round, own[0], arguments)]
    populations = [_leading(plan, lane, carry.population) for carry in own]
    under = [_leading(plan, lane, under_way[place]) for place in lane.places]
    parts = [carry._replace(population=p) for carry, p in zip(own, populations, strict=True)]
    work = {
        Stage.BEGIN: begin_round,
        Stage.TRAIN: train_chunk,
        Stage.TRAINED: finish_training,
        Stage.SCORE: score_batches,
        Stage.END: end_round,
    }[stage]
    with jax.named_scope(ROUNDS):
        done = work(plan, lane, piece, arguments, parts, under)
    new_carries, new_under = list(carries), list(under_way)
    for place, full, (carry, part) in zip(lane.places, own, done, strict=True):
        population = _put_back(plan, lane, full.population, carry.population)
        new_carries[place] = carry._replace(population=population)
        new_under[place] = _put_back(plan, lane, under_way[place], part)
    return tuple(new_carries), tuple(new_under)


def _shrunk(plan: Plan, lane: Lane, number: Array, carry: Carry, arguments: Arguments) -> Carry:
    """Returns a group without the members that the refiner drops as a lane begins."""
    if lane.first < plan.past:
        return carry
    assert lane.size is not None
    assert lane.before is not None
    (group,) = lane.groups
    enter = functools.partial(shrink, plan, group, lane.first, lane.before, lane.size, arguments)
    return lax.cond(number == lane.first, enter, lambda carry: carry, carry)


def _leading(plan: Plan, lane: Lane, tree: Any) -> Any:
    """Returns the slots in use; whole on every device where the population shrinks."""
    return tree if lane.size is None else everywhere(leading_slots(tree, lane.size), plan.layout)


def _put_back(plan: Plan, lane: Lane, full: Any, part: Any) -> Any:
    if lane.size is None:
        return part
    part = everywhere(part, plan.layout)
    return jax.tree.map(lambda full, new: full.at[: lane.size].set(new), full, part)


def readings(
    plan: Plan, populations: Sequence[Population], arguments: Arguments
) -> tuple[Reading, ...]:
    """Returns by lane how many batches it is sent at a time.

    Args:
      populations: by group its population; this and the arguments may be shapes.
    """
    found = []
    for lane in lanes(plan):
        works = [
            shared_step(plan, group.cohort, populations[place], arguments)
            for group, place in zip(lane.groups, lane.places, strict=True)
        ]
        shared_bytes = sum(work.row_bytes for work in works)
        found.append(
            reading(plan, Stepping(lane.cohort, plan.rounds, arguments.data, shared_bytes))
        )
    return tuple(found)
