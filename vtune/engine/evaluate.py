"""Scoring: totals over the validation batches, the metrics they give, and one score per member."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.data.dataset import Data
from vtune.engine import early_stopping
from vtune.engine.carry import Arguments, shared_weights
from vtune.engine.divergence import note_broken_scores
from vtune.engine.fold_steps import fold_lengths, of_fold, with_own_lengths
from vtune.engine.objectives import Objectives, compared
from vtune.engine.parallel import over_members
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.recording import mean_over_replicates, named, recorded_type
from vtune.engine.replicates import (
    Replicate,
    over_population,
    per_replicate,
    replicate_key,
    replicate_shape,
)
from vtune.engine.shared_work import SharedWork, looked_up, shared_measure
from vtune.metrics.totals import join_rows, split_rows
from vtune.rng.threefry import folded
from vtune.types import Array, PyTree, float_dtype


def evaluate(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    end: Array,
    arguments: Arguments,
) -> list[tuple[Array, dict[str, Array]]]:
    """Returns by cohort the metric that members are compared by, and all metrics by name, of every
    replicate on the validation rows; leaves [pop, replicates, ...].

    Args:
      end: the steps that were trained, which the keys depend on; [folds] where folds have their
        own.
    """
    data = arguments.data
    measure = batch_totals(plan, cohorts, populations, arguments, end)
    if data is None or plan.eval_batch_size is None:
        summed, rows = measure(jnp.int32(0), None, None, jnp.ones(1))
        rows = jax.tree.map(lambda leaf: leaf[None], rows)
    else:
        summed, rows = _totals_of_all_batches(measure, data, plan.eval_batch_size)
    return metrics_of(plan, summed, rows)


def metrics_of(
    plan: Plan, summed: Sequence[PyTree], rows: Sequence[PyTree]
) -> list[tuple[Array, dict[str, Array]]]:
    """Returns what `evaluate` returns, from the totals of all batches.

    Args:
      summed: by cohort those that were summed. rows: those that were kept, [batches, pop, ...].
    """

    def finish(totals: PyTree, shared: Any) -> Any:
        return per_replicate(functools.partial(_metrics, plan), plan.replicates)(totals)

    # The compiler would divide by sums of known or equal weights by multiplying: other bits than
    # those of totals that were carried from call to call.
    summed = lax.optimization_barrier(summed)
    score = over_members(finish, plan.layout)
    leading = 1 + len(replicate_shape(plan.replicates))
    return [score(join_rows(*totals, leading), None) for totals in zip(summed, rows, strict=True)]


def batch_totals(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    arguments: Arguments,
    end: Array,
) -> Callable[..., Any]:
    """Returns a function of one batch, (its number, index, rows, weights) -> by cohort the totals
    that are summed, and by cohort those that are kept row by row."""
    seed = arguments.seed
    lengths = fold_lengths(cohorts[0], arguments.data)
    weights = shared_weights(plan, arguments)
    works = [
        shared_measure(plan, cohort, population, arguments)
        for cohort, population in zip(cohorts, populations, strict=True)
    ]
    lifted = [
        over_population(functools.partial(_measure, plan, *one), plan.replicates, plan.layout)
        for one in zip(cohorts, works, strict=True)
    ]
    axes = int(arguments.data is not None and arguments.data.folded)

    def measure(number: Array, index: Any, *rows: Any) -> Any:
        totals = [
            f(
                (p.id, p.hparams),
                p.state,
                work.values(weights, rows, axes, looked_up(plan, cohort, arguments, index, True)),
                (seed, end, number, lengths, weights),
            )
            for f, work, cohort, p in zip(lifted, works, cohorts, populations, strict=True)
        ]
        return tuple(zip(*totals, strict=True))

    return measure


def _measure(
    plan: Plan,
    cohort: CohortPlan,
    work: SharedWork,
    replicate: Replicate | None,
    member: Any,
    state: PyTree,
    rows: Any,
    shared: Any,
) -> Any:
    """Returns the totals of one replicate and one batch: (summed, kept row by row)."""
    (id, traced), (seed, end, number, lengths, weights) = member, shared
    own = replicate_key(plan.replicates, seed, id, replicate)
    key = folded(own, of_fold(end, replicate), number)
    h = cohort.h(with_own_lengths(cohort, lengths, traced, replicate))
    return split_rows(work(weights, key, h, state, rows()))


def _totals_of_all_batches(measure: Callable[..., Any], data: Data, size: int) -> Any:
    """Returns the totals of all validation rows; each batch is gathered once for all members."""
    index, weight = data.evaluation(size)

    def one_batch(sums: PyTree, batch: Any) -> Any:
        number, batch_index, batch_weight = batch
        summed, rows = measure(number, batch_index, data.take(batch_index), batch_weight)
        return jax.tree.map(jnp.add, sums, summed), rows

    number = jnp.arange(index.shape[0], dtype=jnp.int32)
    shapes, _ = jax.eval_shape(lambda: measure(number[0], index[0], data.take(index[0]), weight[0]))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return lax.scan(one_batch, zeros, (number, index, weight))


def _metrics(plan: Plan, totals: PyTree) -> tuple[Array, dict[str, Any]]:
    """Returns the value that one replicate is compared by, and its metrics by name."""
    metrics = dict(plan.learner.score(totals))
    if callable(plan.metric):
        metrics["score"] = plan.metric(metrics)
        return jnp.asarray(metrics["score"]), metrics
    return jnp.asarray(metrics[plan.metric]), metrics


def with_scores(
    plan: Plan,
    population: Population,
    step_metrics: dict[str, Array],
    evaluated: tuple[Array, dict[str, Array]],
    last: Array,
    objectives: Objectives = (),
) -> tuple[Population, dict[str, Array]]:
    """Returns the population with its scores, and what is recorded of the round by name: NaN of
    members that diverged, 0 of members that stopped.

    A healthy program returns no NaN, so that `jax_debug_nans` finds what is broken and nothing
    else. The history of members that stopped becomes NaN on the host.

    Args:
      evaluated: what `evaluate` returned. last: the last step of the round.
      objectives: what the refiner compares members by, if not by their scores.
    """
    value, metrics = evaluated
    value = mean_over_replicates(plan, value)
    died = note_broken_scores(plan, value, population.died, last)
    healthy, active = died < 0, early_stopping.active(population)
    score = jnp.where(healthy & jnp.isfinite(value), plan.sign * value, -jnp.inf)
    shown = healthy if active is None else healthy & active

    empty = jnp.nan if active is None else jnp.where(healthy, 0.0, jnp.nan)

    def mask(values: Array) -> Array:
        values = jnp.asarray(values, recorded_type(values))
        by_member = lambda a: jnp.reshape(a, jnp.shape(a) + (1,) * (values.ndim - jnp.ndim(a)))
        return jnp.where(by_member(shown), values, by_member(empty).astype(values.dtype))

    all_metrics = named(plan, step_metrics, metrics)
    scored = population._replace(
        score=score.astype(float_dtype()),
        died=died,
        objectives=compared(objectives, all_metrics, healthy),
    )
    return scored, jax.tree.map(mask, all_metrics)
