"""What each round records: means of the training steps' metrics, and metrics of validation rows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.carry import Arguments, shared_weights
from vtune.engine.parallel import replicated
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import per_replicate, replicate_shape
from vtune.engine.stepping import batch_shapes
from vtune.learner.frozen import sharing
from vtune.learner.protocol import traced_once
from vtune.metrics.totals import widened
from vtune.rng.keys import member_key
from vtune.types import Array, PyTree

SPLITS = "/splits"  # the suffix of a metric's values by fold and seed


def summarised(plan: Plan, sums: PyTree, steps: Array) -> dict[str, Any]:
    """Returns the step's metrics over a round by name, from their sums [pop, ...] or [pop,
    replicates, ...].

    Args:
      steps: of the round; [folds] where folds have their own.
    """
    summarise = plan.learner.summarise or _means
    if not sums:
        return {}
    if plan.replicates is not None and steps.ndim:
        own = jnp.maximum(jnp.repeat(steps, plan.replicates.seeds), 1)  # empty folds take none
        by_replicate = jax.vmap(lambda sums, steps: dict(summarise(sums, steps)))
        return jax.vmap(lambda sums: by_replicate(sums, own))(sums)
    if plan.learner.summarise is None:
        return _means(sums, steps)
    one_member = per_replicate(lambda sums: dict(summarise(sums, steps)), plan.replicates)
    return jax.vmap(one_member)(sums)


def _means(sums: PyTree, steps: Array) -> dict[str, Any]:
    return {name: value / steps.astype(value.dtype) for name, value in sums.items()}


def named(plan: Plan, step_metrics: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns all that is recorded of a round by name; where members have replicates, the means
    over them and, with the suffix `SPLITS`, the values of each."""
    values = {**{f"train/{name}": value for name, value in step_metrics.items()}, **metrics}
    if plan.replicates is None:
        return values
    splits = {f"{name}{SPLITS}": value for name, value in values.items()}
    return {name: mean_over_replicates(plan, value) for name, value in values.items()} | splits


def mean_over_replicates(plan: Plan, values: Any) -> Array:
    """Returns [pop, ...] from [pop, replicates, ...]; the same where there are no replicates."""
    if plan.replicates is None:
        return values
    return jnp.mean(jnp.asarray(values, recorded_type(values)), axis=1)


def recorded_type(value: Any) -> Any:
    """Returns the type that a metric is recorded in, a float, so that it can be NaN."""
    return jnp.promote_types(value.dtype, jnp.float32)


def zero_sums(
    plan: Plan, cohort: CohortPlan, population: Population, arguments: Arguments
) -> dict[str, Any]:
    """Returns zeros [pop, replicates, ...] for the sums of the step's metrics by name."""
    learner = traced_once(plan.learner)
    replicates = replicate_shape(plan.replicates)
    without = lambda axes, tree: jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype), tree
    )

    def step_metrics(
        traced: dict[str, Array], state: PyTree, batch: PyTree, weights: PyTree
    ) -> Any:
        key = member_key(np.uint32(0), 0)
        step = sharing(learner, weights).step
        return dict(widened(step(key, cohort.h(traced), state, batch)[1]))

    # traced as the members' steps are, on the same devices, so that it is the same trace
    shapes = jax.eval_shape(
        replicated(step_metrics, plan.layout),
        without(1, population.hparams),
        without(1 + len(replicates), population.state),
        batch_shapes(arguments.data, cohort.batch_size),
        shared_weights(plan, arguments),
    )
    size = population.id.shape[0]
    return jax.tree.map(lambda s: jnp.zeros((size, *replicates, *s.shape), s.dtype), shapes)
