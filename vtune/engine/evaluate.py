"""How good members are: totals over the validation batches, then one score each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.engine.carry import Arguments
from vtune.engine.parallel import over_members
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import Replicate, each, over_all, replicate_shape, training_key
from vtune.learner.protocol import traced_once
from vtune.metrics.totals import join_rows, split_rows
from vtune.rng.threefry import folded
from vtune.types import Array, PyTree


def evaluate(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    end: Array,
    arguments: Arguments,
) -> list[tuple[Array, dict[str, Array]]]:
    """By cohort the score and all metrics of every training, each [pop, ...], on the validation
    rows.

    Each batch of rows is gathered once for all of them.
    """
    data, seed, learner = arguments.data, arguments.seed, traced_once(plan.learner)

    def measure(
        cohort: CohortPlan,
        place: Replicate | None,
        member: Any,
        state: PyTree,
        rows: Any,
        shared: Any,
    ) -> Any:
        own_id, traced = member
        seed, end, number = shared
        key = folded(training_key(seed, own_id, place), end, number)
        return split_rows(learner.measure(key, cohort.h(traced), state, *rows()))

    def finish(totals: PyTree, shared: Any) -> Any:
        def training(totals: PyTree) -> Any:
            metrics = dict(learner.score(totals))
            if callable(plan.metric):
                metrics["score"] = plan.metric(metrics)
            value = jnp.asarray(metrics["score" if callable(plan.metric) else plan.metric])
            return value, metrics

        return each(training, plan.replicates)(totals)

    over = [
        over_all(functools.partial(measure, own), plan.replicates, plan.layout) for own in cohorts
    ]

    def measured(number: Array, *rows: Any) -> Any:
        made = [
            f((own.id, own.hparams), own.state, rows, (seed, end, number))
            for f, own in zip(over, populations, strict=True)
        ]
        return tuple(zip(*made, strict=True))

    if data is None or plan.eval_batch_size is None:
        summed, rows = measured(jnp.int32(0), None, jnp.ones(1))
        rows = jax.tree.map(lambda a: a[None], rows)
    else:
        index, weight = data.evaluation(plan.eval_batch_size)

        def one_batch(total: PyTree, xs: Any) -> Any:
            number, own_rows, own_weight = xs
            part, rows = measured(number, data.take(own_rows), own_weight)
            return jax.tree.map(jnp.add, total, part), rows

        number = jnp.arange(index.shape[0], dtype=jnp.int32)
        shapes, _ = jax.eval_shape(lambda: measured(number[0], data.take(index[0]), weight[0]))
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        summed, rows = lax.scan(one_batch, zeros, (number, index, weight))
    score = over_members(finish, plan.layout)
    leading = 1 + len(replicate_shape(plan.replicates))
    return [score(join_rows(*totals, leading), None) for totals in zip(summed, rows, strict=True)]
