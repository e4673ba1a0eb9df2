"""The carry before the first round: members initialised, nothing recorded."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vtune.data.dataset import Data
from vtune.engine import early_stopping
from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import Group, groups, own_slots
from vtune.engine.evaluate import evaluate
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population, Record
from vtune.engine.recording import named, recorded, summarised, zero_sums
from vtune.engine.replicates import Replicate, over_all, over_trainings, training_key
from vtune.engine.shared_init import initialise
from vtune.learner.protocol import first_state, traced_once
from vtune.types import Array, PyTree, float_dtype


@functools.partial(jax.jit, static_argnums=0, inline=True)  # traced once: for shapes, and to run
def begin(
    plan: Plan, settings: Sequence[tuple[Array, dict[str, Array]]], arguments: Arguments
) -> tuple[Carry, ...]:
    """By group the members before their first round, from their ids and hyperparameters."""
    found, data = groups(plan), arguments.data

    def training(
        cohort: CohortPlan, place: Replicate | None, member: Any, own: None, rows: Any, shared: Any
    ) -> PyTree:
        (own_id, traced), (seed, weights) = member, shared
        key = training_key(seed, own_id, place)
        return first_state(traced_once(plan.learner), key, cohort.h(traced), rows(), weights)

    def all_trainings(cohort: CohortPlan, member: Any, shared: Any) -> PyTree:
        seed, (batch, weights) = shared
        one = lambda place, own, batch: training(
            cohort, place, member, own, lambda: batch, (seed, weights)
        )
        return over_trainings(one, plan.replicates)(None, batch)

    batches = [_first_batch(group.cohort, data) for group in found]
    if len(found) == 1:
        one = functools.partial(training, found[0].cohort)
        init = over_all(one, plan.replicates, plan.layout)
        states = [init(settings[0], None, batches[0], (arguments.seed, arguments.weights))]
    else:
        states = initialise(
            [functools.partial(all_trainings, group.cohort) for group in found],
            settings,
            arguments.seed,
            [(batch, arguments.weights) for batch in batches],
            plan.layout,
        )
    return tuple(
        _blank(plan, group, Population(id, hparams, state, *_unscored(id)), arguments)
        for group, (id, hparams), state in zip(found, settings, states, strict=True)
    )


def _first_batch(cohort: CohortPlan, data: Data | None) -> PyTree:
    """What `init` sees: the first rows in stored order."""
    if data is None or cohort.batch_size is None:
        return None
    return data.take(data.first_rows(cohort.batch_size))


def _unscored(id: Array) -> tuple[Array, Array]:
    """Scores and steps of death before the first round."""
    return jnp.full(id.shape, -jnp.inf, float_dtype()), jnp.full(id.shape, -1, jnp.int32)


def _blank(plan: Plan, group: Group, population: Population, arguments: Arguments) -> Carry:
    """A group's carry, nothing recorded yet."""
    cohort, id = group.cohort, population.id
    population = early_stopping.begin(plan, population)
    zeros = zero_sums(plan, cohort, population, arguments)
    means = jax.eval_shape(lambda sums: summarised(plan, sums, jnp.int32(1)), zeros)
    metrics = jax.eval_shape(
        lambda p: evaluate(plan, [cohort], [p], jnp.int32(0), arguments)[0][1], population
    )
    everything = jax.eval_shape(functools.partial(named, plan), means, metrics)
    blank = lambda leaf: jnp.full((plan.rounds, *leaf.shape), jnp.nan, recorded(leaf))
    record = Record(
        parents=jnp.broadcast_to(own_slots(group), (plan.rounds, *id.shape)),
        hparams=jax.tree.map(
            lambda leaf: jnp.zeros((plan.rounds, *leaf.shape), leaf.dtype), population.hparams
        ),
        metrics=jax.tree.map(blank, everything),
    )
    return Carry(population, memories(group, arguments), record)


def memories(group: Group, arguments: Arguments) -> tuple[PyTree, ...]:
    """By cohort what the refiner remembers at the start."""
    return tuple(
        arguments.refiner.init(arguments.space[index], size)
        for index, size in zip(group.indices, group.sizes, strict=True)
    )
