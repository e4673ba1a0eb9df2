"""Work of a batch that no member's own variables enter: done once for all members.

What lies below a frozen part of a model depends on the batch alone, where no key and no trained
weight comes before it. So a step, and a scoring, are cut in two (`xla/hoist.py`):

    values = of the batch and the frozen variables, for each batch of a chunk
    every member's step on (the batch, its values)
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
from vtune.engine.fold_steps import fold_lengths, with_own_lengths
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import Replicate, replicate_shape
from vtune.engine.stepping import batch_shapes
from vtune.learner.frozen import sharing
from vtune.learner.protocol import traced_once
from vtune.rng.keys import member_key
from vtune.types import PyTree, float_dtype
from vtune.xla.hoist import Hoisted, hoisted


class SharedWork(NamedTuple):
    """A function of one member in two parts.

    Attributes:
      parts: see `Hoisted`; None where all of it is the member's own.
      call: (weights, key, h, state, *rows) -> outputs. outputs: their structure.
      row_bytes: of the values, for each row of a batch.
    """

    parts: Hoisted | None
    call: Callable[..., Any]
    outputs: Any
    row_bytes: int = 0

    def values(self, weights: PyTree, rows: PyTree, axes: int = 0) -> PyTree:
        """Returns rows with what depends on them alone.

        Args:
          rows: of batches, with so many `axes` in front.
        """
        if self.parts is None:
            return rows, None
        compute = lambda rows: self.parts.known(jax.tree.leaves((rows, weights)))
        for _ in range(axes):
            compute = functools.partial(lax.map, compute)
        return rows, compute(rows)

    def __call__(self, weights: PyTree, key: Any, h: Any, state: PyTree, rows: Any) -> Any:
        """Returns what the function returns for one member.

        Args:
          rows: of one batch, see `values`.
        """
        own, values = rows
        if self.parts is None:
            return self.call(weights, key, h, state, *own)
        leaves = jax.tree.leaves((key, h, state, own, weights))
        return jax.tree.unflatten(self.outputs, self.parts.rest(leaves, values))


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
    of_one = lambda key, h, state, rows, weights: call(weights, key, h, state, *rows)
    given = (key, h, without(axes, population.state), rows, weights)
    traced, shapes = jax.make_jaxpr(of_one, return_shape=True)(*given)
    own = len(jax.tree.leaves(given[:3]))
    is_known = [i >= own for i in range(len(jax.tree.leaves(given)))]
    parts = hoisted(traced, is_known)
    size = 0
    if parts is not None:
        found = jax.eval_shape(parts.known, jax.tree.leaves(given[3:]))
        bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in found)
        size = -(-bytes // jax.tree.leaves(rows)[0].shape[0])
    return SharedWork(parts, call, jax.tree.structure(shapes), size)
