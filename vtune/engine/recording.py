"""What is recorded of a round: means of the step's metrics, and metrics of the validation rows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.carry import Arguments
from vtune.engine.parallel import replicated
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import each, replicate_shape
from vtune.learner.protocol import traced_once
from vtune.metrics.totals import widened
from vtune.rng.keys import member_key
from vtune.types import Array, PyTree

SPLITS = "/splits"  # what the values of each fold and seed are called


def summarised(plan: Plan, sums: PyTree, steps: Array) -> dict[str, Any]:
    """The step's metrics over a round, by name, from their sums [pop, ...] or [pop, trainings,
    ...]."""
    if plan.learner.summarise is None:
        return {name: value / steps.astype(value.dtype) for name, value in sums.items()}
    summarise = plan.learner.summarise
    one = each(lambda own: dict(summarise(own, steps)), plan.replicates)
    return jax.vmap(one)(sums)


def named(plan: Plan, means: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """All that is recorded of a round, by name; of several trainings their mean, and each."""
    all_ = {**{f"train/{name}": value for name, value in means.items()}, **metrics}
    if plan.replicates is None:
        return all_
    splits = {f"{name}{SPLITS}": value for name, value in all_.items()}
    return {name: mean_of_trainings(plan, value) for name, value in all_.items()} | splits


def mean_of_trainings(plan: Plan, values: Any) -> Array:
    """[pop, ...] from [pop, trainings, ...]."""
    if plan.replicates is None:
        return values
    return jnp.mean(jnp.asarray(values, recorded(values)), axis=1)


def recorded(value: Any) -> Any:
    """The type that a metric is recorded in: one that knows NaN."""
    return jnp.promote_types(value.dtype, jnp.float32)


def zero_sums(
    plan: Plan, cohort: CohortPlan, population: Population, arguments: Arguments
) -> dict[str, Any]:
    """Zeros [pop, ...] for the sums of the step metrics of every training."""
    data, learner = arguments.data, traced_once(plan.learner)

    inner = replicate_shape(plan.replicates)
    alone = lambda tree, n: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[n:], a.dtype), tree)
    traced, state = alone(population.hparams, 1), alone(population.state, 1 + len(inner))
    batch = None
    if data is not None and cohort.batch_size is not None:
        rows = cohort.batch_size
        batch = alone(jax.eval_shape(lambda: data.take(data.first_rows(rows))), data.folded)

    def one(traced: dict[str, Array], state: PyTree, batch: PyTree) -> Any:
        key = member_key(np.uint32(0), 0)
        return dict(widened(learner.step(key, cohort.h(traced), state, batch)[1]))

    # where the members' steps are traced, so that it is the same trace
    shapes = jax.eval_shape(replicated(one, plan.layout), traced, state, batch)
    size = population.id.shape[0]
    return jax.tree.map(lambda s: jnp.zeros((size, *inner, *s.shape), s.dtype), shapes)
