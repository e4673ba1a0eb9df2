"""The program: THE only loops over steps and rounds.

run = initialise all members when first is 0 (where a sweep goes on they come with the carry), then
      for each lane of groups that take the same batches
          (for each rung, on its leading slots, where a cohort shrinks):
          for each round in [first, stop): refine, gather, train, score, record
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.engine import early_stopping
from vtune.engine.apply_refiner import leading, refine, shrink
from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import Group, by_cohort, groups, joined, lanes
from vtune.engine.divergence import _all_finite, _first_death, _note_broken
from vtune.engine.evaluate import evaluate
from vtune.engine.fusion import fused_members
from vtune.engine.initialize import begin, memories
from vtune.engine.parallel import everywhere
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population, Record
from vtune.engine.recording import mean_of_trainings, named, recorded, summarised, zero_sums
from vtune.engine.replicates import Replicate, over_all, replicate_shape, training_key
from vtune.engine.stepping import Stepping, quotient, remainder, trains
from vtune.learner.protocol import traced_once
from vtune.metrics.totals import widened
from vtune.rng.threefry import folded
from vtune.types import Array, PyTree, float_dtype
from vtune.xla.loops import flat, fused


def run(plan: Plan, carry: tuple[Carry, ...], first: Any, stop: Any, arguments: Arguments) -> Any:
    """Rounds [first, stop) of every cohort. `first` and `stop` are traced.

    With `first` 0 the carry's ids and hyperparameters are taken and everything else is made.
    """
    found = groups(plan)
    carries = (_continued if plan.past else _started)(plan, carry, first, arguments)
    trained: dict[tuple[int, ...], Carry] = {}
    by_group = dict(zip((group.indices for group in found), carries, strict=True))
    for lane in lanes(found):
        names = [group.indices for group in lane]
        own = tuple(by_group[name] for name in names)
        shrinks = lane[0].cohort.shrinks
        through = _run_shrinking if shrinks else _run_lane
        trained |= zip(names, through(plan, lane, own, first, stop, arguments), strict=True)
    return by_cohort(plan, [trained[group.indices] for group in found])


def _started(
    plan: Plan, carry: tuple[Carry, ...], first: Any, arguments: Arguments
) -> tuple[Carry, ...]:
    """By group the carry, everything in it made with `first` 0."""
    found = groups(plan)

    def starting(carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
        settings = [(own.population.id, own.population.hparams) for own in carries]
        begun = begin(plan, settings, arguments)
        return tuple(
            everywhere(own, plan.layout) if group.cohort.shrinks else own
            for group, own in zip(found, begun, strict=True)
        )

    return lax.cond(first == 0, starting, lambda c: c, joined(plan, carry))


def _continued(
    plan: Plan, carry: tuple[Carry, ...], first: Any, arguments: Arguments
) -> tuple[Carry, ...]:
    """By group the carry as it comes; a refiner that begins anew forgets what it remembers."""
    carries = joined(plan, carry)
    if not plan.anew:
        return carries

    def forget(carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
        pairs = zip(groups(plan), carries, strict=True)
        return tuple(own._replace(memory=memories(group, arguments)) for group, own in pairs)

    return lax.cond(first == plan.past, forget, lambda c: c, carries)


def _run_lane(
    plan: Plan,
    lane: tuple[Group, ...],
    carries: tuple[Carry, ...],
    first: Any,
    stop: Any,
    arguments: Arguments,
) -> tuple[Carry, ...]:
    """The rounds of groups that take the same batches and keep their size."""
    one_round = functools.partial(_one_round, plan, lane, None, arguments)
    return lax.fori_loop(first, stop, one_round, carries)


def _run_shrinking(
    plan: Plan,
    lane: tuple[Group, ...],
    carries: tuple[Carry, ...],
    first: Any,
    stop: Any,
    arguments: Arguments,
) -> tuple[Carry, ...]:
    """The rounds of one cohort that shrinks, rung by rung."""
    (group,), (carry,) = lane, carries
    done, before = 0, group.cohort.size
    for rung in group.cohort.rungs:
        if done + rung.rounds <= plan.past:
            done, before = done + rung.rounds, rung.size
            continue
        bounds = jnp.maximum(first, done), jnp.minimum(stop, done + rung.rounds)
        if rung.size < before and done >= plan.past:
            enter = functools.partial(shrink, plan, group, done, before, rung.size, arguments)
            carry = lax.cond((first <= done) & (done < stop), enter, lambda c: c, carry)
        rounds = functools.partial(_run_rung, plan, group, bounds, rung.size, arguments)
        # What a call does not reach, it does not touch.
        carry = lax.cond(bounds[0] < bounds[1], rounds, lambda c: c, carry)
        done, before = done + rung.rounds, rung.size
    return (carry,)


def _run_rung(
    plan: Plan,
    group: Group,
    bounds: tuple[Array, Array],
    size: int,
    arguments: Arguments,
    carry: Carry,
) -> Carry:
    """The rounds within `bounds` on the leading `size` slots of the full-size carry.

    A shrinking population is whole on every device between calls: were it cut up, its leading
    slots would lie on the first ones, and every call would move all of it.
    """
    part = everywhere(carry._replace(population=leading(carry.population, size)), plan.layout)
    one_round = functools.partial(_one_round, plan, (group,), size, arguments)
    ((population, memory, record),) = lax.fori_loop(*bounds, one_round, (part,))
    population = everywhere(population, plan.layout)
    whole = jax.tree.map(lambda full, new: full.at[:size].set(new), carry.population, population)
    return everywhere(Carry(whole, memory, record), plan.layout)


def _one_round(
    plan: Plan,
    lane: tuple[Group, ...],
    size: int | None,
    arguments: Arguments,
    number: Array,
    carries: tuple[Carry, ...],
) -> tuple[Carry, ...]:
    """Refines, trains, scores and records the groups of a lane.

    Args:
      size: slots in use, where the population shrinks and is refined elsewhere.
    """
    populations, parents, memories = [], [], []
    for group, (population, memory, record) in zip(lane, carries, strict=True):
        own = record.parents[number, :size]
        if size is None:
            population, own, memory = refine(plan, group, number, population, memory, arguments)
        if arguments.trajectory is not None:
            id, hparams = jax.tree.map(lambda leaf: leaf[number], arguments.trajectory)
            population = population._replace(id=id, hparams=hparams)
        populations.append(population)
        parents.append(own)
        memories.append(memory)
    cohorts = [group.cohort for group in lane]
    scored = _train_and_score(plan, cohorts, populations, number, arguments)
    result = []
    for carry, own, memory, (population, metrics) in zip(
        carries, parents, memories, scored, strict=True
    ):
        seen = Record(own, population.hparams, metrics)
        past = carry.record
        record = jax.tree.map(functools.partial(_put, number), past, seen)
        result.append(Carry(population, memory, record))
    return tuple(result)


def _put(number: Array, past: Array, seen: Array) -> Array:
    """Records of all rounds with those of one, of the leading slots."""
    at = (number, *[jnp.zeros_like(number)] * seen.ndim)
    return lax.dynamic_update_slice(past, seen.astype(past.dtype)[None], at)


def _train_and_score(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    number: Array,
    arguments: Arguments,
) -> list[tuple[Population, dict[str, Array]]]:
    """One round's training and scoring; metrics of members that diverged are NaN."""
    pace = Stepping(cohorts[0], plan.rounds, arguments.data)
    start, end = pace.bounds(number)
    after, means = [], []
    for population, (state, died, own) in zip(
        populations, _train(plan, cohorts, populations, pace, start, end, arguments), strict=True
    ):
        died = _note_broken(plan, state, died, end - 1)
        after.append(population._replace(state=state, died=died))
        means.append(own)
    scored = evaluate(plan, cohorts, after, end, arguments)
    judged = []
    for i, (cohort, before) in enumerate(zip(cohorts, populations, strict=True)):
        seen, metrics = _judge(plan, after[i], means[i], scored[i], end - 1)
        judged.append((early_stopping.note(plan, cohort, before, seen, number), metrics))
    return judged


def _judge(
    plan: Plan,
    population: Population,
    means: dict[str, Array],
    scored: tuple[Array, dict[str, Array]],
    last: Array,
) -> tuple[Population, dict[str, Array]]:
    """A group's scores, and what is recorded."""
    died, (score, metrics) = population.died, scored
    score = mean_of_trainings(plan, score)
    if plan.learner.variables is None:  # a score is all that shows a state at infinity
        died = jnp.where((died < 0) & ~jnp.isfinite(score), last, died)
    alive, live = died < 0, early_stopping.active(population)
    sign = 1.0 if plan.mode == "max" else -1.0
    score = jnp.where(alive & jnp.isfinite(score), sign * score, -jnp.inf)
    seen = alive if live is None else alive & live

    def mask(values: Array) -> Array:
        values = jnp.asarray(values, recorded(values))
        shaped = seen.reshape(seen.shape + (1,) * (values.ndim - 1))
        return jnp.where(shaped, values, jnp.nan)

    metrics = jax.tree.map(mask, named(plan, means, metrics))
    return population._replace(score=score.astype(float_dtype()), died=died), metrics


def _train(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    pace: Stepping,
    start: Array,
    end: Array,
    arguments: Arguments,
) -> list[tuple[PyTree, Array, dict[str, Any]]]:
    """Steps [start, end): rows of a chunk of steps are gathered once for all the cohorts.

    Returns:
      By cohort the states, the step each member died at (or -1), and the means of the step
      metrics.
    """
    data, seed, learner = arguments.data, arguments.seed, traced_once(plan.learner)
    stride, sizes = pace.stride, None if data is None else data.traced_sizes
    even, chunk = stride.even and not pace.open, stride.chunk
    period: Any
    if pace.open:
        period = pace.steps_per_epoch
        periods, pieces = quotient(end - start, period), quotient(period + chunk - 1, chunk)
    else:
        period = stride.period
        periods, pieces = pace.cohort.steps // plan.rounds // period, period // chunk

    def training_steps(
        cohort: CohortPlan,
        together: int,
        place: Replicate | None,
        member: Any,
        loop: Any,
        rows: Any,
        shared: Any,
    ) -> Any:
        own_id, traced, live = member
        seed, offset, count, sizes, columns = shared
        h, key = cohort.h(traced), training_key(seed, own_id, place)
        length = chunk if even else count  # static where it can be
        if sizes is not None and place is not None:
            length = jnp.where(trains(own_id, place.fold, sizes), length, 0)

        def one_step(j: Array, batch: Any, loop: Any) -> Any:
            state, died, sums = loop
            step = offset + j
            state, metrics = learner.step(folded(key, step), h, state, batch)
            healthy = _all_finite(metrics)
            died = jnp.where((died < 0) & ~healthy, step, died)
            return state, died, jax.tree.map(jnp.add, sums, widened(metrics))

        if together > 1:
            return fused.fori_loop(length, one_step, loop, rows(), columns)
        train = lambda loop: flat.fori_loop(
            0, length, lambda j, loop: one_step(j, rows(j), loop), loop
        )
        return train(loop) if live is None else lax.cond(live, train, lambda loop: loop, loop)

    together = [fused_members(plan, population, data) for population in populations]
    over = [
        over_all(
            functools.partial(training_steps, own, some),
            plan.replicates,
            plan.layout,
            in_place=True,
            fused=some,
        )
        for own, some in zip(cohorts, together, strict=True)
    ]

    def advance(offset: Array, count: Any, rows: Any, loops: Any) -> Any:
        """`count` steps from `offset` on, in which `rows` [chunk, batch] are taken in turn."""
        batches = None if data is None or rows is None else data.take(rows)
        columns = fused.columns(batches) if max(together) > 1 else None
        shared = (seed, offset, jnp.asarray(count, jnp.int32), sizes, columns)
        return tuple(
            f((own.id, own.hparams, early_stopping.active(own)), loop, batches, shared)
            for f, own, loop in zip(over, populations, loops, strict=True)
        )

    def one_period(i: Array, loops: Any) -> Any:
        first = start + i * period
        rows = pace.epoch_rows(seed, first)

        def piece(j: Array, loops: Any) -> Any:
            done = j * chunk
            count = chunk if even else jnp.minimum(period - done, chunk)
            own = pace.rows_of(rows, first + done, chunk)
            return advance(first + done, count, own, loops)

        return lax.fori_loop(0, pieces, piece, loops)

    def uneven_chunk(where: Any) -> Any:
        offset, loops = where
        left = end - offset
        if pace.steps_per_epoch is not None:
            left = jnp.minimum(left, pace.steps_per_epoch - remainder(offset, pace.steps_per_epoch))
        count = jnp.minimum(left, chunk)
        rows = pace.epoch_rows(seed, offset)
        own = pace.rows_of(rows, offset, chunk)
        return offset + count, advance(offset, count, own, loops)

    inner = replicate_shape(plan.replicates)
    each_died = lambda died: jnp.repeat(died[:, None], inner[0], axis=1) if inner else died
    loops: Any = tuple(
        (population.state, each_died(population.died), zero_sums(plan, own, population, arguments))
        for own, population in zip(cohorts, populations, strict=True)
    )
    if pace.open or even:
        loops = lax.fori_loop(0, periods, one_period, loops)
    else:
        _, loops = lax.while_loop(lambda where: where[0] < end, uneven_chunk, (start, loops))
    return [
        (state, _first_death(died), summarised(plan, sums, end - start))
        for state, died, sums in loops
    ]
