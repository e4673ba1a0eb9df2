"""The carry before the first round: members initialised, nothing recorded."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.caches import bounded_cache
from vtune.data.dataset import Data
from vtune.engine import early_stopping
from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import Group, carries_by_group, groups, slots_in_cohort
from vtune.engine.evaluate import evaluate
from vtune.engine.fold_steps import fold_lengths, with_own_lengths
from vtune.engine.objectives import not_yet_compared
from vtune.engine.parallel import everywhere
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population, Record
from vtune.engine.recording import named, recorded_type, summarised, zero_sums
from vtune.engine.replicates import Replicate, over_population, over_replicates, replicate_key
from vtune.engine.shared_init import initialize_groups
from vtune.learner.protocol import first_state, traced_once
from vtune.types import Array, PyTree, float_dtype


def starting_carries(
    plan: Plan, carry: tuple[Carry, ...], first: Any, arguments: Arguments
) -> tuple[Carry, ...]:
    """Returns the carry of every group, ready for round `first`.

    Everything in it but ids and hyperparameters is made when `first` is 0. An extended sweep goes
    on with the carry as it comes, or with a fresh memory of a refiner that starts anew.
    """
    carries = carries_by_group(plan, carry)

    def start(carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
        settings = [(carry.population.id, carry.population.hparams) for carry in carries]
        made = initialize(plan, settings, arguments)
        return tuple(
            everywhere(carry, plan.layout) if group.cohort.shrinks else carry
            for group, carry in zip(groups(plan), made, strict=True)
        )

    def forget(carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
        return tuple(
            carry._replace(memory=refiner_memories(group, arguments))
            for group, carry in zip(groups(plan), carries, strict=True)
        )

    unchanged = lambda carries: carries
    if plan.past == 0:
        return lax.cond(first == 0, start, unchanged, carries)
    return lax.cond(first == plan.past, forget, unchanged, carries) if plan.anew else carries


def initialize(
    plan: Plan, settings: Sequence[tuple[Array, dict[str, Array]]], arguments: Arguments
) -> tuple[Carry, ...]:
    """Returns the carry of every group before its first round.

    Args:
      settings: by group the members' ids and traced hyperparameters, leaves [pop].
    """
    return _initializer(plan)(settings, arguments)


def initial_shapes(plan: Plan, arguments: Arguments) -> tuple[Carry, ...]:
    """Returns the carry of every group before its first round, as shapes.

    Args:
      arguments: shapes will do.
    """

    def settings(group: Group) -> Any:
        size = group.cohort.size
        return jnp.zeros(size, jnp.int32), {k: jnp.zeros(size, t) for k, t in group.cohort.traced}

    def start(arguments: Arguments) -> tuple[Carry, ...]:
        return initialize(plan, [settings(group) for group in groups(plan)], arguments)

    return jax.eval_shape(start, arguments)


@bounded_cache(32, Plan.reads)
def _initializer(plan: Plan) -> Any:
    """`_initialize` of a plan, traced once: for shapes, and to run.

    It is a function of its own, since JAX never forgets a plan that is a static argument, nor the
    learner in it, nor the data that this may close over.
    """
    return jax.jit(functools.partial(_initialize, plan), inline=True)


def _initialize(
    plan: Plan, settings: Sequence[tuple[Array, dict[str, Array]]], arguments: Arguments
) -> tuple[Carry, ...]:
    all_groups = groups(plan)
    states = _first_states(plan, all_groups, settings, arguments)
    return tuple(
        _unrecorded(plan, group, Population(id, hparams, state, *_unscored(id)), arguments)
        for group, (id, hparams), state in zip(all_groups, settings, states, strict=True)
    )


def refiner_memories(group: Group, arguments: Arguments) -> tuple[PyTree, ...]:
    """Returns by cohort what the refiner remembers at the start."""
    return tuple(
        arguments.refiner.init(arguments.space[index], size)
        for index, size in zip(group.indices, group.sizes, strict=True)
    )


def _first_states(
    plan: Plan,
    all_groups: tuple[Group, ...],
    settings: Sequence[tuple[Array, dict[str, Array]]],
    arguments: Arguments,
) -> list[PyTree]:
    """Returns the states of every group; those of several groups are compiled together."""
    batches = [_first_batch(group.cohort, arguments.data) for group in all_groups]
    lengths = [fold_lengths(group.cohort, arguments.data) for group in all_groups]
    if len(all_groups) == 1:
        one_replicate = functools.partial(_first_state, plan, all_groups[0].cohort)
        lifted = over_population(one_replicate, plan.replicates, plan.layout)
        shared = (arguments.seed, arguments.weights, lengths[0])
        return [lifted(settings[0], None, batches[0], shared)]
    return initialize_groups(
        [functools.partial(_member_states, plan, group.cohort) for group in all_groups],
        settings,
        arguments.seed,
        [(batch, arguments.weights, of) for batch, of in zip(batches, lengths, strict=True)],
        plan.layout,
    )


def _first_state(
    plan: Plan,
    cohort: CohortPlan,
    replicate: Replicate | None,
    member: Any,
    state: None,
    rows: Any,
    shared: Any,
) -> PyTree:
    """Returns the state of one replicate of one member."""
    (id, traced), (seed, weights, lengths) = member, shared
    key = replicate_key(plan.replicates, seed, id, replicate)
    h = cohort.h(with_own_lengths(cohort, lengths, traced, replicate))
    return first_state(traced_once(plan.learner), key, h, rows(), weights)


def _member_states(plan: Plan, cohort: CohortPlan, member: Any, shared: Any) -> PyTree:
    """Returns the states of one member's replicates."""
    seed, (batch, *others) = shared

    def one_replicate(replicate: Replicate | None, state: None, batch: PyTree) -> PyTree:
        rows = lambda: batch
        return _first_state(plan, cohort, replicate, member, state, rows, (seed, *others))

    return over_replicates(one_replicate, plan.replicates)(None, batch)


def _first_batch(cohort: CohortPlan, data: Data | None) -> PyTree:
    """Returns the batch that `init` sees: the first rows in stored order."""
    if data is None or cohort.batch_size is None:
        return None
    return data.take(data.first_rows(cohort.batch_size))


def _unscored(id: Array) -> tuple[Array, Array]:
    """Returns the scores and steps of divergence before the first round."""
    return jnp.full(id.shape, -jnp.inf, float_dtype()), jnp.full(id.shape, -1, jnp.int32)


def _unrecorded(plan: Plan, group: Group, population: Population, arguments: Arguments) -> Carry:
    """Returns a group's carry with empty records, whose zeros nobody reads."""
    cohort, id = group.cohort, population.id
    population = early_stopping.with_tracking(plan, population)
    population = not_yet_compared(population, arguments.refiner)
    sums = zero_sums(plan, cohort, population, arguments)
    step_metrics = jax.eval_shape(lambda sums: summarised(plan, sums, jnp.int32(1)), sums)
    metrics = jax.eval_shape(
        lambda population: evaluate(plan, [cohort], [population], jnp.int32(0), arguments)[0][1],
        population,
    )
    shapes = jax.eval_shape(functools.partial(named, plan), step_metrics, metrics)
    record = Record(
        parents=jnp.broadcast_to(slots_in_cohort(group), (plan.rounds, *id.shape)),
        hparams=jax.tree.map(
            lambda leaf: jnp.zeros((plan.rounds, *leaf.shape), leaf.dtype), population.hparams
        ),
        metrics=jax.tree.map(
            lambda leaf: jnp.zeros((plan.rounds, *leaf.shape), recorded_type(leaf)), shapes
        ),
    )
    return Carry(population, refiner_memories(group, arguments), record)
