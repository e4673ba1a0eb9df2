"""The program: the only loops over rounds and over the steps of a round.

run = initialise all members when first is 0 (an extended sweep brings them in the carry), then
      for each batch group, whose cohorts take the same batches
          (for each rung, on its leading slots, where a cohort shrinks):
          for each round in [first, stop): refine, gather, train, score, record
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.engine import early_stopping
from vtune.engine.apply_refiner import leading_slots, shrink
from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import Group, batch_groups, carries_by_cohort, groups
from vtune.engine.divergence import first_died, note_broken_states
from vtune.engine.evaluate import evaluate, with_scores
from vtune.engine.initialize import starting_carries
from vtune.engine.objectives import refiner_objectives
from vtune.engine.parallel import everywhere, without_copies
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population, Record
from vtune.engine.recording import summarised
from vtune.engine.refresh import refreshed
from vtune.engine.replicates import members_dealt_out
from vtune.engine.round_parts import (
    TrainChunk,
    chunk_trainer,
    last_step,
    refined_group,
    training_of_cohort,
    write_round,
)
from vtune.engine.scopes import ROUNDS, Training
from vtune.engine.shared_work import SharedWork, shared_step
from vtune.engine.stepping import Periods, Stepping
from vtune.engine.train_steps import Progress, start_progress
from vtune.types import Array, PyTree


def run(plan: Plan, carry: tuple[Carry, ...], first: Any, stop: Any, arguments: Arguments) -> Any:
    """Runs rounds [first, stop) of every cohort. `first` and `stop` are traced.

    With `first` 0 only the ids and hyperparameters of the carry are used; all else is made.
    """
    all_groups = groups(plan)
    carries = starting_carries(plan, carry, first, arguments)
    names = [group.indices for group in all_groups]
    carry_of = dict(zip(names, carries, strict=True))
    for batch_group in batch_groups(all_groups):
        run_rounds = _run_shrinking if batch_group[0].cohort.shrinks else _run_rounds
        names = [group.indices for group in batch_group]
        before = tuple(carry_of[name] for name in names)
        after = run_rounds(plan, batch_group, before, first, stop, arguments)
        carry_of |= zip(names, after, strict=True)
    return carries_by_cohort(plan, [carry_of[group.indices] for group in all_groups])


def _run_rounds(
    plan: Plan,
    batch_group: tuple[Group, ...],
    carries: tuple[Carry, ...],
    first: Any,
    stop: Any,
    arguments: Arguments,
) -> tuple[Carry, ...]:
    """Runs rounds [first, stop) of groups that keep their size."""
    one_round = functools.partial(_one_round, plan, batch_group, None, arguments)
    with jax.named_scope(ROUNDS):
        return early_stopping.over_rounds(plan, first, stop, one_round, carries)


def _run_shrinking(
    plan: Plan,
    batch_group: tuple[Group, ...],
    carries: tuple[Carry, ...],
    first: Any,
    stop: Any,
    arguments: Arguments,
) -> tuple[Carry, ...]:
    """Runs rounds [first, stop) of one cohort that shrinks, rung by rung."""
    (group,), (carry,) = batch_group, carries
    done, before = 0, group.cohort.size
    for rung in group.cohort.rungs:
        if done + rung.rounds <= plan.past:
            done, before = done + rung.rounds, rung.size
            continue
        bounds = jnp.maximum(first, done), jnp.minimum(stop, done + rung.rounds)
        if rung.size < before and done >= plan.past:
            enter = functools.partial(shrink, plan, group, done, before, rung.size, arguments)
            carry = lax.cond((first <= done) & (done < stop), enter, lambda c: c, carry)
        rounds = functools.partial(_run_rung, plan, group, bounds, rung.size, arguments)
        # A call copies nothing for the rungs that it does not reach.
        carry = lax.cond(bounds[0] < bounds[1], rounds, lambda c: c, carry)
        done, before = done + rung.rounds, rung.size
    return (carry,)


def _run_rung(
    plan: Plan,
    group: Group,
    bounds: tuple[Array, Array],
    size: int,
    arguments: Arguments,
    carry: Carry,
) -> Carry:
    """Runs the rounds within `bounds` on the leading `size` slots of the full-size carry.

    Between calls a shrinking population is whole on every device. If it were sharded, its leading
    slots would lie on the first devices, and every call would move all of it.
    """
    leading = leading_slots(carry.population, size)
    part = everywhere(carry._replace(population=leading), plan.layout)
    one_round = functools.partial(_one_round, plan, (group,), size, arguments)
    with jax.named_scope(ROUNDS):
        ((population, memory, record),) = early_stopping.over_rounds(
            plan, *bounds, one_round, (part,)
        )
    population = everywhere(population, plan.layout)
    full = jax.tree.map(lambda full, new: full.at[:size].set(new), carry.population, population)
    return everywhere(Carry(full, memory, record), plan.layout)


def _one_round(
    plan: Plan,
    batch_group: tuple[Group, ...],
    size: int | None,
    arguments: Arguments,
    number: Array,
    carries: tuple[Carry, ...],
) -> tuple[Carry, ...]:
    """Refines, trains, scores and records round `number` of a batch group.

    Args:
      size: the slots in use where the population shrinks; it is then refined elsewhere.
    """
    refined = [
        refined_group(plan, group, size, number, carry, arguments)
        for group, carry in zip(batch_group, carries, strict=True)
    ]
    cohorts = [group.cohort for group in batch_group]
    populations = [population for population, _, _ in refined]
    scored = _train_and_score(plan, cohorts, populations, number, arguments)
    result = []
    for carry, (_, parents, memory), (population, metrics) in zip(
        carries, refined, scored, strict=True
    ):
        of_round = Record(parents, population.hparams, metrics)
        record = jax.tree.map(functools.partial(write_round, number), carry.record, of_round)
        result.append(Carry(population, memory, record))
    return tuple(result)


def _train_and_score(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    number: Array,
    arguments: Arguments,
) -> list[tuple[Population, dict[str, Array]]]:
    """Trains and scores one round; returns the populations and what is recorded.

    Members are dealt out over the devices once a round: no step moves any.
    """
    trainings = [
        training_of_cohort(plan, cohort, population)
        for cohort, population in zip(cohorts, populations, strict=True)
    ]
    dealt = [
        members_dealt_out(population, plan.replicates, plan.layout) for population in populations
    ]
    scored = _train_and_score_dealt(plan, cohorts, trainings, dealt, number, arguments)
    return [
        without_copies(result, population.id.shape[0], plan.layout)
        for result, population in zip(scored, populations, strict=True)
    ]


def _train_and_score_dealt(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    trainings: Sequence[Training],
    populations: Sequence[Population],
    number: Array,
    arguments: Arguments,
) -> list[tuple[Population, dict[str, Array]]]:
    """Does so with populations that lie where they are trained, some with copies.

    Args:
      trainings: whose they are, copies not counted.
    """
    works = [
        shared_step(plan, cohort, population, arguments)
        for cohort, population in zip(cohorts, populations, strict=True)
    ]
    shared_bytes = sum(work.row_bytes for work in works)
    stepping = Stepping(cohorts[0], plan.rounds, arguments.data, shared_bytes)
    start, end = stepping.bounds(number)
    last = last_step(end)
    trained, step_metrics = [], []
    for population, (state, died, means) in zip(
        populations,
        _train(plan, cohorts, trainings, populations, works, stepping, start, end, arguments),
        strict=True,
    ):
        died = note_broken_states(plan, state, died, last)
        trained.append(population._replace(state=state, died=died))
        step_metrics.append(means)
    trained = refreshed(plan, cohorts, trained, stepping, end, arguments)
    scores = evaluate(plan, cohorts, trained, end, arguments)
    objectives = refiner_objectives(arguments.refiner)
    result = []
    for i, (cohort, before) in enumerate(zip(cohorts, populations, strict=True)):
        after, metrics = with_scores(plan, trained[i], step_metrics[i], scores[i], last, objectives)
        result.append((early_stopping.update(plan, cohort, before, after, number), metrics))
    return result


def _train(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    trainings: Sequence[Training],
    populations: Sequence[Population],
    works: Sequence[SharedWork],
    stepping: Stepping,
    start: Array,
    end: Array,
    arguments: Arguments,
) -> list[tuple[PyTree, Array, dict[str, Any]]]:
    """Trains steps [start, end); the rows of a chunk are gathered once for all cohorts.

    Returns:
      By cohort the states, the step that each member diverged at (or -1), and the means of the
      step's metrics.
    """
    periods = stepping.periods()
    fixed = None if periods is None else stepping.chunks.chunk
    train_chunk = chunk_trainer(plan, cohorts, trainings, populations, works, fixed, arguments)
    progress = tuple(
        start_progress(plan, cohort, population, arguments)
        for cohort, population in zip(cohorts, populations, strict=True)
    )
    seed = arguments.seed
    if periods is not None:
        progress = _by_period(stepping, periods, seed, start, train_chunk, progress)
    else:
        progress = _by_chunks(stepping, seed, start, end, train_chunk, progress)
    return [
        (state, first_died(died), summarised(plan, sums, end - start))
        for state, died, sums in progress
    ]


def _by_period(
    stepping: Stepping,
    periods: Periods,
    seed: Any,
    start: Array,
    train_chunk: TrainChunk,
    progress: tuple[Progress, ...],
) -> tuple[Progress, ...]:
    """Trains the periods of a round, chunk by chunk."""
    chunk = stepping.chunks.chunk

    def one_period(i: Array, progress: Any) -> Any:
        first = start + i * periods.length
        epoch_rows = stepping.epoch_rows(seed, first)

        def one_chunk(j: Array, progress: Any) -> Any:
            step = first + j * chunk
            return train_chunk(step, chunk, stepping.chunk_rows(epoch_rows, step), progress)

        return lax.fori_loop(0, periods.chunks, one_chunk, progress)

    return lax.fori_loop(0, periods.number, one_period, progress)


def _by_chunks(
    stepping: Stepping,
    seed: Any,
    start: Array,
    end: Array,
    train_chunk: TrainChunk,
    progress: tuple[Progress, ...],
) -> tuple[Progress, ...]:
    """Trains steps [start, end) in chunks that end wherever an epoch or the round does.

    Folds with steps of their own go side by side: each on from epoch to epoch at its own pace, and
    waits when its round is over. Rows are shuffled where an epoch begins.
    """
    chunk = stepping.chunks.chunk
    shuffled = lambda step: stepping.epoch_rows(seed, step)
    no_rows = jax.tree.map(
        lambda rows: jnp.zeros(rows.shape, rows.dtype), jax.eval_shape(shuffled, start)
    )

    def one_chunk(carried: Any) -> Any:
        step, rows, progress = carried
        begins = (step < end) & ((step == start) | stepping.begins_epoch(step))
        rows = lax.cond(jnp.any(begins), shuffled, lambda _: rows, step)
        count = jnp.minimum(stepping.steps_left(step, end), chunk)
        progress = train_chunk(step, count, stepping.chunk_rows(rows, step), progress)
        return step + count, rows, progress

    going_on = lambda carried: jnp.any(carried[0] < end)
    return lax.while_loop(going_on, one_chunk, (start, no_rows, progress))[2]
