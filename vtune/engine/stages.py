"""The stages of a lane's round, each one piece of the program of data on the host."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.data.window import Leading
from vtune.engine import early_stopping
from vtune.engine.carry import Arguments, Carry
from vtune.engine.divergence import first_died, note_broken_states
from vtune.engine.evaluate import batch_totals, metrics_of, with_scores
from vtune.engine.fold_steps import fold_lengths
from vtune.engine.lanes import Lane, reading
from vtune.engine.objectives import refiner_objectives
from vtune.engine.parallel import without_copies
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.recording import summarised
from vtune.engine.refresh import refreshed_on
from vtune.engine.replicates import members_dealt_out
from vtune.engine.round_parts import (
    chunk_trainer,
    last_step,
    refined_group,
    training_of_cohort,
    write_round,
)
from vtune.engine.shared_work import shared_step
from vtune.engine.stepping import Stepping
from vtune.engine.train_steps import Progress, start_progress
from vtune.types import Array, PyTree


class Piece(NamedTuple):
    """What one call does.

    Attributes:
      stage: see `stage_number`. round: the round's number.
      first, steps: of a chunk, its first step and how many it has, [folds], or [1] without folds.
      batch, batches: of a scoring, the first validation batch and how many are there.
    """

    stage: Any
    round: Any
    first: Any
    steps: Any
    batch: Any
    batches: Any


class UnderWay(NamedTuple):
    """What a group has in the middle of a round, beside its carry; leaves [pop, ...].

    Attributes:
      died, sums: see `Progress`.
      summed: totals of the validation batches so far.
      by_row: totals of single rows so far, [pop, batches, ...].
    """

    died: Array
    sums: PyTree
    summed: PyTree
    by_row: PyTree


Parts = Sequence[Carry]
Under = Sequence[UnderWay]
Done = list[tuple[Carry, UnderWay]]


def begin_round(
    plan: Plan, lane: Lane, piece: Piece, arguments: Arguments, parts: Parts, under: Under
) -> Done:
    """Refines the groups, and records who they are now."""
    number, done = piece.round, []
    for group, carry, way in zip(lane.groups, parts, under, strict=True):
        refined = refined_group(plan, group, lane.size, number, carry, arguments)
        population, parents, memory = refined
        write = functools.partial(write_round, number)
        record = carry.record._replace(
            parents=write(carry.record.parents, parents),
            hparams=jax.tree.map(write, carry.record.hparams, population.hparams),
        )
        progress = start_progress(plan, group.cohort, population, arguments)
        carry = Carry(population, memory, record)
        done.append((carry, way._replace(died=progress.died, sums=progress.sums)))
    return done


def train_chunk(
    plan: Plan, lane: Lane, piece: Piece, arguments: Arguments, parts: Parts, under: Under
) -> Done:
    """Trains one chunk of steps."""
    cohorts = [group.cohort for group in lane.groups]
    trainings = [
        training_of_cohort(plan, cohort, carry.population)
        for cohort, carry in zip(cohorts, parts, strict=True)
    ]
    dealt = [_dealt(plan, (carry.population, way)) for carry, way in zip(parts, under, strict=True)]
    populations = [population for population, _ in dealt]
    works = [
        shared_step(plan, cohort, population, arguments)
        for cohort, population in zip(cohorts, populations, strict=True)
    ]
    shared_bytes = sum(work.row_bytes for work in works)
    stepping = Stepping(lane.cohort, plan.rounds, arguments.data, shared_bytes)
    sent = reading(plan, stepping)
    fixed = sent.steps if sent.even else None
    train = chunk_trainer(plan, cohorts, trainings, populations, works, fixed, arguments)
    progress = tuple(Progress(p.state, way.died, way.sums) for p, way in dealt)
    rows = Leading(sent.steps, lane.cohort.batch_size or 1)
    own = slice(None) if fold_lengths(lane.cohort, arguments.data) is not None else 0
    after = train(piece.first[own], piece.steps[own], rows, progress)
    done = []
    for carry, (population, way), (state, died, sums) in zip(parts, dealt, after, strict=True):
        trained = population._replace(state=state), way._replace(died=died, sums=sums)
        done.append(_undealt(plan, carry, trained))
    return done


def finish_training(
    plan: Plan, lane: Lane, piece: Piece, arguments: Arguments, parts: Parts, under: Under
) -> Done:
    """Notes whose weights are broken, and makes the others ready to be scored."""
    cohorts = [group.cohort for group in lane.groups]
    stepping = Stepping(lane.cohort, plan.rounds, arguments.data)
    _, end = stepping.bounds(piece.round)
    dealt = [_dealt(plan, carry.population) for carry in parts]
    noted = [
        population._replace(died=_died(plan, population, _dealt(plan, way.died), end))
        for population, way in zip(dealt, under, strict=True)
    ]
    sent = reading(plan, stepping)
    rows = None
    if sent.refreshing:
        rows = _window(arguments).batches(sent.refreshing, lane.cohort.batch_size)
    ready = refreshed_on(plan, cohorts, noted, stepping, end, rows, arguments)
    zeros = jax.tree.map(jnp.zeros_like, [(way.summed, way.by_row) for way in under])
    done = []
    for carry, way, population, (summed, by_row) in zip(parts, under, ready, zeros, strict=True):
        size = carry.population.id.shape[0]
        population = without_copies(population, size, plan.layout)
        way = way._replace(summed=summed, by_row=by_row)
        done.append((carry._replace(population=population), way))
    return done


def _died(plan: Plan, population: Population, died: Array, end: Array) -> Array:
    return note_broken_states(plan, population.state, first_died(died), last_step(end))


def score_batches(
    plan: Plan, lane: Lane, piece: Piece, arguments: Arguments, parts: Parts, under: Under
) -> Done:
    """Adds some validation batches to the totals."""
    cohorts = [group.cohort for group in lane.groups]
    stepping = Stepping(lane.cohort, plan.rounds, arguments.data)
    _, end = stepping.bounds(piece.round)
    dealt = [_dealt(plan, (carry.population, way)) for carry, way in zip(parts, under, strict=True)]
    populations = [population for population, _ in dealt]
    measure = _measured(plan, lane, cohorts, populations, end, arguments)

    def one_batch(i: Array, totals: Any) -> Any:
        new = measure(piece.batch, i)
        return [
            (
                jax.tree.map(jnp.add, summed, batch_summed),
                jax.tree.map(lambda all, one: all.at[:, piece.batch + i].set(one), by_row, rows),
            )
            for (summed, by_row), batch_summed, rows in zip(totals, *new, strict=True)
        ]

    before = [(way.summed, way.by_row) for _, way in dealt]
    after = lax.fori_loop(0, piece.batches, one_batch, before)
    return [
        _undealt(plan, carry, (population, way._replace(summed=summed, by_row=by_row)))
        for carry, (population, way), (summed, by_row) in zip(parts, dealt, after, strict=True)
    ]


def _measured(
    plan: Plan,
    lane: Lane,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    end: Array,
    arguments: Arguments,
) -> Callable[[Array, Array], Any]:
    """Returns a function (first batch, place) -> totals of the batch at a place of the window."""
    sent = reading(plan, Stepping(lane.cohort, plan.rounds, arguments.data))
    size, window = plan.eval_batch_size, _window(arguments)
    measure = batch_totals(plan, cohorts, populations, arguments, end)
    places = window.batches(sent.scoring, size)

    def of_batch(first: Array, place: Array) -> Any:
        batch = window.take(jnp.take(places, place, axis=places.ndim - 2))
        (weights,) = window.weights(first + place, 1, size)
        return measure(first + place, None, batch, weights)

    return of_batch


def no_totals(
    plan: Plan, lane: Lane, populations: Sequence[Population], arguments: Arguments
) -> list[tuple[PyTree, PyTree]]:
    """Returns by group totals of no batch, see `UnderWay`."""
    cohorts = [group.cohort for group in lane.groups]
    stepping = Stepping(lane.cohort, plan.rounds, arguments.data)
    _, end = stepping.bounds(jnp.int32(0))
    batches, first = reading(plan, stepping).batches, jnp.int32(0)
    shapes = jax.eval_shape(
        lambda populations: _measured(plan, lane, cohorts, populations, end, arguments)(
            first, first
        ),
        list(populations),
    )
    zeros = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)
    by_row = lambda leaf: jnp.zeros((leaf.shape[0], batches, *leaf.shape[1:]), leaf.dtype)
    return [
        (jax.tree.map(zeros, summed), jax.tree.map(by_row, rows))
        for summed, rows in zip(*shapes, strict=True)
    ]


def end_round(
    plan: Plan, lane: Lane, piece: Piece, arguments: Arguments, parts: Parts, under: Under
) -> Done:
    """Scores the groups by their totals, and records the round."""
    stepping = Stepping(lane.cohort, plan.rounds, arguments.data)
    number = piece.round
    start, end = stepping.bounds(number)
    dealt = [_dealt(plan, (carry.population, way)) for carry, way in zip(parts, under, strict=True)]
    scores = metrics_of(
        plan,
        [way.summed for _, way in dealt],
        [jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), way.by_row) for _, way in dealt],
    )
    objectives, done = refiner_objectives(arguments.refiner), []
    for i, (group, carry) in enumerate(zip(lane.groups, parts, strict=True)):
        before, way = dealt[i]
        means = summarised(plan, way.sums, end - start)
        last = last_step(end)
        after, metrics = with_scores(plan, before, means, scores[i], last, objectives)
        after = early_stopping.update(plan, group.cohort, before, after, number)
        size = carry.population.id.shape[0]
        after, metrics = without_copies((after, metrics), size, plan.layout)
        write = functools.partial(write_round, number)
        record = carry.record._replace(metrics=jax.tree.map(write, carry.record.metrics, metrics))
        done.append((Carry(after, carry.memory, record), under[i]))
    return done


def _window(arguments: Arguments) -> Any:
    assert arguments.data is not None
    return arguments.data


def _dealt(plan: Plan, members: Any) -> Any:
    return members_dealt_out(members, plan.replicates, plan.layout)


def _undealt(
    plan: Plan, carry: Carry, members: tuple[Population, UnderWay]
) -> tuple[Carry, UnderWay]:
    size = carry.population.id.shape[0]
    population, way = without_copies(members, size, plan.layout)
    return carry._replace(population=population), way
