"""The parts of a round that do not depend on where the data lie: refine, train a chunk, record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.engine import early_stopping
from vtune.engine.apply_refiner import refine
from vtune.engine.carry import Arguments, Carry, shared_weights
from vtune.engine.cohort_groups import Group, groups
from vtune.engine.fold_steps import fold_lengths
from vtune.engine.fusion import fused_members
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import over_population
from vtune.engine.scopes import Training
from vtune.engine.shared_work import SharedWork, looked_up
from vtune.engine.train_steps import Chunk, Progress, StepTrainer
from vtune.types import Array, PyTree
from vtune.xla.loops import fused

# (first step, steps, rows, progress by cohort) -> progress by cohort
TrainChunk = Callable[[Array, Any, Any, tuple[Progress, ...]], tuple[Progress, ...]]


def refined_group(
    plan: Plan,
    group: Group,
    size: int | None,
    number: Array,
    carry: Carry,
    arguments: Arguments,
) -> tuple[Population, Array, tuple[PyTree, ...]]:
    """Returns a group as round `number` begins: its population, parents and the refiner's memories.

    Args:
      size: the slots in use where the population shrinks; it is then refined elsewhere.
    """
    population, memory, record = carry
    parents = record.parents[number, :size]
    if size is None:
        population, parents, memory = refine(plan, group, number, population, memory, arguments)
    if arguments.trajectory is not None:
        id, hparams = jax.tree.map(lambda leaf: leaf[number], arguments.trajectory)
        population = population._replace(id=id, hparams=hparams)
    return population, parents, memory


def last_step(end: Array) -> Array:
    """Returns the last step of a round that ends before step `end`, [folds] where folds differ."""
    return jnp.max(end) - 1 if end.ndim else end - 1


def write_round(number: Array, record: Array, of_round: Array) -> Array:
    """Returns the records [rounds, pop, ...] with those of round `number`, of leading slots."""
    start = (number, *[jnp.zeros_like(number)] * of_round.ndim)
    return lax.dynamic_update_slice(record, of_round.astype(record.dtype)[None], start)


def chunk_trainer(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    trainings: Sequence[Training],
    populations: Sequence[Population],
    works: Sequence[SharedWork],
    steps: int | None,
    arguments: Arguments,
) -> TrainChunk:
    """Returns a function that trains all cohorts for one chunk.

    Args:
      steps: steps of every chunk; None where they are traced.
    """
    data, seed = arguments.data, arguments.seed
    axes = 2 if data is not None and data.folded else 1  # of a chunk's batches
    lengths = fold_lengths(cohorts[0], data)  # the same for all, who take the same batches
    widths = [fused_members(plan, population, data) for population in populations]
    trainers = [
        over_population(
            StepTrainer(work, cohort, plan.replicates, steps, width, plan.layout.width != 1),
            plan.replicates,
            plan.layout,
            in_place=True,
            fused=width,
        )
        for work, cohort, width in zip(works, cohorts, widths, strict=True)
    ]

    def train_chunk(
        first: Array, count: Any, rows: Any, progress: tuple[Progress, ...]
    ) -> tuple[Progress, ...]:
        batches = None if data is None or rows is None else data.take(rows)
        count, weights = jnp.asarray(count, jnp.int32), shared_weights(plan, arguments)
        after = []
        for i, (train, cohort, p) in enumerate(zip(trainers, cohorts, populations, strict=True)):
            known = looked_up(plan, cohort, arguments, rows, scoring=False)
            given = works[i].values(weights, (batches,), axes, known)
            columns = fused.columns(given) if widths[i] > 1 else None
            chunk = Chunk(seed, first, count, lengths, columns, weights)
            with jax.named_scope(trainings[i].name):
                member = (p.id, p.hparams, early_stopping.active(p))
                after.append(train(member, progress[i], given, chunk))
        return tuple(after)

    return train_chunk


def training_of_cohort(plan: Plan, cohort: CohortPlan, population: Population) -> Training:
    """Returns whose steps those of a population are, before it is filled up with copies."""
    numbers = [number for number, group in enumerate(groups(plan)) if group.cohort == cohort]
    return Training(numbers[0], population.id.shape[0])
