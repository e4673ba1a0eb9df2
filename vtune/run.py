"""The program: THE only loops over steps and rounds.

run = for each group of cohorts: initialise when first is 0, then
      for each rung, on its leading slots:
          for each round in [first, stop): refine, gather, train, score, record
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.carry import Arguments, Carry
from vtune.data import Data
from vtune.decide import leading, refine, shrink
from vtune.evaluate import evaluate
from vtune.group import Group, by_cohort, join, own_slots
from vtune.keys import IMPL, member_key
from vtune.learner import traced_once
from vtune.plan import CohortPlan, Plan
from vtune.population import Population, Record, everywhere, over_members
from vtune.totals import widened
from vtune.types import Array, PyTree, float_dtype


def run(plan: Plan, carry: tuple[Carry, ...], first: Any, stop: Any, arguments: Arguments) -> Any:
    """Rounds [first, stop) of every cohort. `first` and `stop` are traced.

    With `first` 0 the carry's ids and hyperparameters are taken and everything else is made.
    """

    def together(group: Group) -> Carry:
        joined = join(carry[index] for index in group.indices)
        return _run_group(plan, group, joined, first, stop, arguments)

    return by_cohort(plan, together)


def begin(
    plan: Plan, group: Group, id: Array, hparams: dict[str, Array], arguments: Arguments
) -> Carry:
    """Cohorts that train together, before their first round."""
    cohort, data = group.cohort, arguments.data
    batch = None
    if data is not None and cohort.batch_size is not None:
        batch = data.take(data.train[: cohort.batch_size])

    def init(member: Any, shared: Any) -> PyTree:
        own_id, traced = member
        seed, batch = shared
        return traced_once(plan.learner).init(member_key(seed, own_id), cohort.h(traced), batch)

    state = over_members(init, plan.layout)((id, hparams), (arguments.seed, batch))
    score = jnp.full(id.shape, -jnp.inf, float_dtype())
    died = jnp.full(id.shape, -1, jnp.int32)
    population = Population(id, hparams, state, score, died)
    means = _zero_sums(plan, cohort, population, arguments)
    metrics = jax.eval_shape(
        lambda p: evaluate(plan, cohort, p, jnp.int32(0), arguments)[1], population
    )
    everything = _named(means, metrics)
    blank = lambda leaf: jnp.full((plan.rounds, *leaf.shape), jnp.nan, _recorded(leaf))
    record = Record(
        parents=jnp.broadcast_to(own_slots(group), (plan.rounds, *id.shape)),
        hparams=jax.tree.map(
            lambda leaf: jnp.zeros((plan.rounds, *leaf.shape), leaf.dtype), hparams
        ),
        metrics=jax.tree.map(blank, everything),
    )
    memory = tuple(
        arguments.refiner.init(arguments.space[index], size)
        for index, size in zip(group.indices, group.sizes, strict=True)
    )
    return Carry(population, memory, record)


def _run_group(
    plan: Plan, group: Group, carry: Carry, first: Any, stop: Any, arguments: Arguments
) -> Carry:
    cohort = group.cohort

    def starting(carry: Carry) -> Carry:
        id, hparams = carry.population.id, carry.population.hparams
        begun = begin(plan, group, id, hparams, arguments)
        return everywhere(begun, plan.layout) if cohort.shrinks else begun

    carry = lax.cond(
        first == 0,
        starting,
        lambda c: c,
        carry,
    )
    done, before = 0, cohort.size
    for rung in cohort.rungs:
        bounds = jnp.maximum(first, done), jnp.minimum(stop, done + rung.rounds)
        if rung.size < before:
            enter = functools.partial(shrink, plan, group, done, before, rung.size, arguments)
            carry = lax.cond((first <= done) & (done < stop), enter, lambda c: c, carry)
        rounds = functools.partial(_run_rung, plan, group, bounds, rung.size, arguments)
        if cohort.shrinks:  # what a call does not reach, it does not touch
            carry = lax.cond(bounds[0] < bounds[1], rounds, lambda c: c, carry)
        else:
            carry = rounds(carry)
        done, before = done + rung.rounds, rung.size
    return carry


def _run_rung(
    plan: Plan,
    group: Group,
    bounds: tuple[Array, Array],
    size: int,
    arguments: Arguments,
    carry: Carry,
) -> Carry:
    """The rounds within `bounds` on the leading `size` slots of the full-size carry."""
    cohort = group.cohort

    def one_round(number: Array, carry: Carry) -> Carry:
        population, memory, record = carry
        parents = record.parents[number, :size]
        if not cohort.shrinks:
            population, parents, memory = refine(plan, group, number, population, memory, arguments)
        if arguments.path is not None:
            id, hparams = jax.tree.map(lambda leaf: leaf[number], arguments.path)
            population = population._replace(id=id, hparams=hparams)
        population, metrics = _train_and_score(plan, cohort, population, number, arguments)
        seen = Record(parents, population.hparams, metrics)
        record = jax.tree.map(lambda past, new: past.at[number, :size].set(new), record, seen)
        return Carry(population, memory, record)

    if not cohort.shrinks:
        return lax.fori_loop(bounds[0], bounds[1], one_round, carry)
    # A shrinking population is whole on every device between calls: were it cut up, its leading
    # slots would lie on the first ones, and every call would move all of it.
    part = everywhere(carry._replace(population=leading(carry.population, size)), plan.layout)
    population, memory, record = lax.fori_loop(bounds[0], bounds[1], one_round, part)
    population = everywhere(population, plan.layout)
    whole = jax.tree.map(lambda full, new: full.at[:size].set(new), carry.population, population)
    return everywhere(Carry(whole, memory, record), plan.layout)


def _train_and_score(
    plan: Plan, cohort: CohortPlan, population: Population, number: Array, arguments: Arguments
) -> tuple[Population, dict[str, Array]]:
    """One round's training and scoring; metrics of members that diverged are NaN."""
    bounds = jnp.asarray(cohort.boundaries(plan.rounds))
    start, end = bounds[number], bounds[number + 1]
    state, died, means = _train(plan, cohort, population, start, end, arguments)
    died = _note_broken(plan, state, died, end - 1)
    score, metrics = evaluate(plan, cohort, population._replace(state=state), end, arguments)
    if plan.learner.variables is None:  # a score is all that shows a state at infinity
        died = jnp.where((died < 0) & ~jnp.isfinite(score), end - 1, died)
    alive = died < 0
    sign = 1.0 if plan.mode == "max" else -1.0
    score = jnp.where(alive & jnp.isfinite(score), sign * score, -jnp.inf)

    def mask(values: Array) -> Array:
        values = jnp.asarray(values, _recorded(values))
        shaped = alive.reshape(alive.shape + (1,) * (values.ndim - 1))
        return jnp.where(shaped, values, jnp.nan)

    metrics = jax.tree.map(mask, _named(means, metrics))
    score = score.astype(float_dtype())
    return population._replace(state=state, score=score, died=died), metrics


def _named(means: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """All that is recorded of a round, by name."""
    return {**{f"train/{name}": value for name, value in means.items()}, **metrics}


def _recorded(value: Any) -> Any:
    """The type that a metric is recorded in: one that knows NaN."""
    return jnp.promote_types(value.dtype, jnp.float32)


def _train(
    plan: Plan,
    cohort: CohortPlan,
    population: Population,
    start: Array,
    end: Array,
    arguments: Arguments,
) -> tuple[PyTree, Array, dict[str, Array]]:
    """Steps [start, end): rows of a chunk of steps are gathered once for the whole cohort.

    Returns:
      The states, the step each member died at (or -1), and the means of the step metrics.
    """
    data, seed, learner = arguments.data, arguments.seed, traced_once(plan.learner)
    stride = cohort.stride(plan.rounds, 0 if data is None else data.row_bytes)

    def member_steps(member: Any, shared: Any) -> Any:
        own_id, traced, state, died, sums = member
        seed, batches, offset, count = shared
        key, h = member_key(seed, own_id), cohort.h(traced)

        def one_step(j: Array, loop: Any) -> Any:
            state, died, sums = loop
            step = offset + j
            batch = jax.tree.map(lambda a: a[j], batches)
            state, metrics = learner.step(jax.random.fold_in(key, step), h, state, batch)
            healthy = _all_finite(metrics)
            died = jnp.where((died < 0) & ~healthy, step, died)
            return state, died, jax.tree.map(jnp.add, sums, widened(metrics))

        length = stride.chunk if stride.even else count  # static where it can be
        return lax.fori_loop(0, length, one_step, (state, died, sums))

    over = over_members(member_steps, plan.layout)

    def advance(offset: Array, count: Any, rows: Any, loop: Any) -> Any:
        """`count` steps from `offset` on, in which `rows` [chunk, batch] are taken in turn."""
        batches = None if data is None or rows is None else data.take(rows)
        shared = (seed, batches, offset, jnp.asarray(count, jnp.int32))
        return over((population.id, population.hparams, *loop), shared)

    def even_period(i: Array, loop: Any) -> Any:
        first = start + i * stride.period
        rows = _epoch_rows(cohort, data, seed, first)

        def piece(j: Array, loop: Any) -> Any:
            offset = first + j * stride.chunk
            own = _rows_of(cohort, rows, offset, stride.chunk)
            return advance(offset, stride.chunk, own, loop)

        return lax.fori_loop(0, stride.period // stride.chunk, piece, loop)

    def uneven_chunk(where: Any) -> Any:
        offset, loop = where
        left = end - offset
        if cohort.steps_per_epoch is not None:
            left = jnp.minimum(left, cohort.steps_per_epoch - offset % cohort.steps_per_epoch)
        count = jnp.minimum(left, stride.chunk)
        rows = _epoch_rows(cohort, data, seed, offset)
        own = _rows_of(cohort, rows, offset, stride.chunk)
        return offset + count, advance(offset, count, own, loop)

    zeros = _zero_sums(plan, cohort, population, arguments)
    loop = (population.state, population.died, zeros)
    if stride.even:
        periods = cohort.steps // plan.rounds // stride.period
        loop = lax.fori_loop(0, periods, even_period, loop)
    else:
        _, loop = lax.while_loop(lambda where: where[0] < end, uneven_chunk, (start, loop))
    state, died, sums = loop
    return state, died, {k: v / (end - start).astype(v.dtype) for k, v in sums.items()}


def _epoch_rows(cohort: CohortPlan, data: Data | None, seed: Any, offset: Array) -> Any:
    """The rows [steps, batch] of the epoch that step `offset` lies in."""
    if data is None or cohort.batch_size is None or cohort.steps_per_epoch is None:
        return None
    return data.rows(seed, offset // cohort.steps_per_epoch, cohort.batch_size)


def _rows_of(cohort: CohortPlan, rows: Any, offset: Array, length: int) -> Any:
    """The rows [length, batch] of the steps from `offset` on, out of those of its epoch."""
    if rows is None or cohort.steps_per_epoch is None:
        return None
    place = offset % cohort.steps_per_epoch + jnp.arange(length)
    return jnp.take(rows, place, axis=0, mode="clip")


def _zero_sums(
    plan: Plan, cohort: CohortPlan, population: Population, arguments: Arguments
) -> dict[str, Array]:
    """Zeros [pop] for the sums of the step metrics."""
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
    return {k: jnp.zeros((size, *s.shape), s.dtype) for k, s in shapes.items()}


def _all_finite(tree: PyTree) -> Array:
    """Whether every float in a tree is finite; a scalar."""
    return _every(jnp.isfinite, tree)


def _every(healthy: Callable[[Array], Array], tree: PyTree) -> Array:
    floats = [
        leaf
        for leaf in map(jnp.asarray, jax.tree.leaves(tree))
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack([jnp.bool_(True), *(jnp.all(healthy(leaf)) for leaf in floats)]))


def _note_broken(plan: Plan, state: PyTree, died: Array, last: Array) -> Array:
    """A member whose variables are not finite after the round died in its last step at the
    latest. Optimizer states are not looked at: lbfgs starts with an infinity in good health."""
    show = plan.learner.variables

    def look(member: Any, shared: Any) -> Array:
        state, died = member
        if show is not None:
            healthy = _all_finite(show(state))
        else:  # weights and optimizer state cannot be told apart: NaN alone is a sure sign
            healthy = _every(lambda leaf: ~jnp.isnan(leaf), state)
        return jnp.where((died < 0) & ~healthy, shared, died)

    return over_members(look, plan.layout)((state, died), last)
