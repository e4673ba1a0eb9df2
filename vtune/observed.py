"""What is recorded of a round: means of the step's metrics, and metrics of the validation rows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from vtune.carry import Arguments
from vtune.keys import IMPL
from vtune.learner import traced_once
from vtune.plan import CohortPlan, Plan
from vtune.population import Population
from vtune.totals import widened
from vtune.types import Array, PyTree


def summarised(plan: Plan, sums: PyTree, steps: Array) -> dict[str, Any]:
    """The step's metrics over a round, by name, from their sums [pop, ...]."""
    if plan.learner.summarise is None:
        return {name: value / steps.astype(value.dtype) for name, value in sums.items()}
    summarise = plan.learner.summarise
    return jax.vmap(lambda own: dict(summarise(own, steps)))(sums)


def named(means: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """All that is recorded of a round, by name."""
    return {**{f"train/{name}": value for name, value in means.items()}, **metrics}


def recorded(value: Any) -> Any:
    """The type that a metric is recorded in: one that knows NaN."""
    return jnp.promote_types(value.dtype, jnp.float32)


def zero_sums(
    plan: Plan, cohort: CohortPlan, population: Population, arguments: Arguments
) -> dict[str, Any]:
    """Zeros [pop, ...] for the sums of the step metrics."""
    data, learner = arguments.data, traced_once(plan.learner)

    alone = lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype)
    traced, state = jax.tree.map(alone, (population.hparams, population.state))
    batch = None
    if data is not None and cohort.batch_size is not None:
        batch = jax.eval_shape(lambda: data.take(data.train[: cohort.batch_size]))

    def one(traced: dict[str, Array], state: PyTree, batch: PyTree) -> Any:
        key = jax.random.key(0, impl=IMPL)
        return dict(widened(learner.step(key, cohort.h(traced), state, batch)[1]))

    shapes = jax.eval_shape(one, traced, state, batch)
    size = population.id.shape[0]
    return jax.tree.map(lambda s: jnp.zeros((size, *s.shape), s.dtype), shapes)
