"""Work of a batch that no member's own variables enter: done once for all members.

What lies below a frozen part of a model depends on the batch alone, where no key and no trained
weight comes before it. So a step, and a scoring, are cut in two (`xla/hoist.py`):

    values = of the batch and the frozen variables, for each batch of a chunk
    every member's step on (the batch, its values)

Values of single rows may be computed once for the whole run: then they are looked up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.engine.carry import Arguments, shared_weights
from vtune.engine.cohort_groups import groups
from vtune.engine.fold_steps import fold_lengths, with_own_lengths
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import Replicate, replicate_shape
from vtune.engine.stepping import batch_shapes
from vtune.learner.frozen import sharing
from vtune.learner.protocol import traced_once
from vtune.rng.keys import member_key
from vtune.types import Array, PyTree, float_dtype
from vtune.xla.hoist import Hoisted, hoisted


class Known(NamedTuple):
    """The values of all rows of the data.

    Attributes:
      values: arrays [rows, ...], or [folds, rows, ...] of data in folds.
      rows: those that are asked for, [..., batch], or [folds, ..., batch].
      folded: whether the data are in folds.
    """

    values: list[Array]
    rows: Array
    folded: bool


def _taken(values: Array, known: Known) -> Array:
    take = lambda values, rows: jnp.take(values, rows, axis=0, mode="clip")
    return jax.vmap(take)(values, known.rows) if known.folded else take(values, known.rows)


class SharedWork(NamedTuple):
    """A function of one member in two parts.

    Attributes:
      parts: see `Hoisted`; None where all of it is the member's own.
      call: (weights, key, h, state, *rows) -> outputs. outputs: their structure.
      shapes: of the values of one batch. row_bytes: theirs, for each row of a batch.
    """

    parts: Hoisted | None
    call: Callable[..., Any]
    outputs: Any
    shapes: tuple[Any, ...] = ()
    row_bytes: int = 0

    def values(self, weights: PyTree, rows: PyTree, axes: int, known: Known | None = None) -> Any:
        """Returns rows with what depends on them alone.

        Args:
          rows: (batch, and what else belongs to it), with so many `axes` in front.
          known: where the values of all rows are there.
        """
        if self.parts is None:
            return rows, None
        if known is not None:
            return rows, [_taken(leaf, known) for leaf in known.values]
        compute = lambda batch: self.parts.known(jax.tree.leaves((batch, weights)))
        for _ in range(axes):
            compute = functools.partial(lax.map, compute)
        return rows, compute(rows[0])

    def __call__(self, weights: PyTree, key: Any, h: Any, state: PyTree, rows: Any) -> Any:
        """Returns what the function returns for one member.

        Args:
          rows: of one batch, see `values`.
        """
        own, values = rows
        if self.parts is None:
            return self.call(weights, key, h, state, *own)
        leaves = jax.tree.leaves((key, h, state, own[1:], own[0], weights))
        return jax.tree.unflatten(self.outputs, self.parts.rest(leaves, values))


def looked_up(
    plan: Plan, cohort: CohortPlan, arguments: Arguments, rows: Any, scoring: bool
) -> Known | None:
    """Returns the values that are there for all rows; None where they are to be computed."""
    if arguments.features is None or arguments.data is None:
        return None
    numbers = [number for number, group in enumerate(groups(plan)) if group.cohort == cohort]
    features = arguments.features[numbers[0]]
    return Known(features.valid if scoring else features.train, rows, arguments.data.folded)


def shared_step(
    plan: Plan, cohort: CohortPlan, population: Population, arguments: Arguments
) -> SharedWork:
    """Returns a member's step, cut in two where its members share weights."""
    call = lambda weights, *of: sharing(traced_once(plan.learner), weights).step(*of)
    rows = (batch_shapes(arguments.data, cohort.batch_size),)
    return _cut(call, plan, cohort, population, arguments, rows)


def shared_measure(
    plan: Plan, cohort: CohortPlan, population: Population, arguments: Arguments
) -> SharedWork:
    """Returns a member's scoring of one batch, cut in two where its members share weights."""
    call = lambda weights, *of: sharing(traced_once(plan.learner), weights).measure(*of)
    size = None if arguments.data is None else plan.eval_batch_size
    weight = jax.ShapeDtypeStruct((size or 1,), float_dtype())
    rows = (batch_shapes(arguments.data, size), weight)
    return _cut(call, plan, cohort, population, arguments, rows)


def _cut(
    call: Callable[..., Any],
    plan: Plan,
    cohort: CohortPlan,
    population: Population,
    arguments: Arguments,
    rows: PyTree,
) -> SharedWork:
    if plan.learner.share is None or rows[0] is None:
        return SharedWork(None, call, None)
    axes = 1 + len(replicate_shape(plan.replicates))
    without = lambda axes, tree: jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype), tree
    )
    lengths = fold_lengths(cohort, arguments.data)
    number: Any = jax.ShapeDtypeStruct((), jnp.int32)
    replicate = None if plan.replicates is None else Replicate(number, number)
    h = jax.eval_shape(
        lambda traced, one: cohort.h(with_own_lengths(cohort, lengths, traced, one)),
        without(1, population.hparams),
        replicate,
    )
    key = jax.eval_shape(lambda: member_key(np.uint32(0), 0))
    weights = without(0, shared_weights(plan, arguments))

    def of_one(key: Any, h: Any, state: Any, others: Any, batch: Any, weights: Any) -> Any:
        return call(weights, key, h, state, batch, *others)

    batch, *others = rows
    given = (key, h, without(axes, population.state), tuple(others), batch, weights)
    traced, shapes = jax.make_jaxpr(of_one, return_shape=True)(*given)
    own = len(jax.tree.leaves(given[:4]))
    is_known = [i >= own for i in range(len(jax.tree.leaves(given)))]
    parts = hoisted(traced, is_known)
    if parts is None:
        return SharedWork(None, call, None)
    found = jax.eval_shape(parts.known, jax.tree.leaves(given[4:]))
    bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in found)
    size = -(-bytes // jax.tree.leaves(batch)[0].shape[0])
    return SharedWork(parts, call, jax.tree.structure(shapes), tuple(found), size)
