"""How good members are: totals over the validation batches, then one score each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.carry import Arguments
from vtune.learner import traced_once
from vtune.plan import CohortPlan, Plan
from vtune.population import Population, over_members
from vtune.totals import join_rows, split_rows
from vtune.trainings import Place, axes, each, over_trainings, training_key
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

    def measure(cohort: CohortPlan, member: Any, shared: Any) -> Any:
        own_id, traced, state = member
        seed, end, number, batch, weight = shared

        def training(place: Place | None, state: PyTree, rows: Any) -> Any:
            key = jax.random.fold_in(training_key(seed, own_id, place), end)
            key = jax.random.fold_in(key, number)
            return split_rows(learner.measure(key, cohort.h(traced), state, *rows))

        return over_trainings(training, plan.trainings, plan.layout)(state, (batch, weight))

    def finish(totals: PyTree, shared: Any) -> Any:
        def training(totals: PyTree) -> Any:
            metrics = dict(learner.score(totals))
            if callable(plan.metric):
                metrics["score"] = plan.metric(metrics)
            value = jnp.asarray(metrics["score" if callable(plan.metric) else plan.metric])
            return value, metrics

        return each(training, plan.trainings)(totals)

    over = [over_members(functools.partial(measure, own), plan.layout) for own in cohorts]
    members = [(own.id, own.hparams, own.state) for own in populations]

    def measured(*shared: Any) -> Any:
        each = [f(own, shared) for f, own in zip(over, members, strict=True)]
        return tuple(zip(*each, strict=True))

    if data is None or plan.eval_batch_size is None:
        summed, rows = measured(seed, end, jnp.int32(0), None, jnp.ones(1))
        rows = jax.tree.map(lambda a: a[None], rows)
    else:
        index, weight = data.evaluation(plan.eval_batch_size)

        def one_batch(total: PyTree, xs: Any) -> Any:
            number, own_rows, own_weight = xs
            part, rows = measured(seed, end, number, data.take(own_rows), own_weight)
            return jax.tree.map(jnp.add, total, part), rows

        number = jnp.arange(index.shape[0], dtype=jnp.int32)
        shapes, _ = jax.eval_shape(
            lambda: measured(seed, end, number[0], data.take(index[0]), weight[0])
        )
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        summed, rows = lax.scan(one_batch, zeros, (number, index, weight))
    score = over_members(finish, plan.layout)
    leading = 1 + len(axes(plan.trainings))
    return [score(join_rows(*totals, leading), None) for totals in zip(summed, rows, strict=True)]
