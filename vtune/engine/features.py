"""The values of all rows that no member's own variables enter, computed once for a whole run."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments, Features, shared_weights
from vtune.engine.cohort_groups import groups
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.engine.shared_work import SharedWork, shared_measure, shared_step
from vtune.types import Array


class Works(NamedTuple):
    """The two functions of a member that are cut in two, and the rows of their batches."""

    train: SharedWork
    valid: SharedWork
    batch_size: int
    eval_batch_size: int


def works_of(
    plan: Plan, populations: Sequence[Population], arguments: Arguments
) -> tuple[Works, ...]:
    """Returns by group what is cut in two.

    Args:
      populations: by group, as shapes.
    """
    found = []
    for group, population in zip(groups(plan), populations, strict=True):
        assert group.cohort.batch_size is not None
        assert plan.eval_batch_size is not None
        of = (plan, group.cohort, population, arguments)
        sizes = group.cohort.batch_size, plan.eval_batch_size
        found.append(Works(shared_step(*of), shared_measure(*of), *sizes))
    return tuple(found)


def feature_shapes(works: Works, data: Data, folds: int) -> Features:
    """Returns the features of all rows as shapes.

    Raises:
      ValueError: nothing costly depends on rows alone, or a value does not begin with the rows.
    """

    def of(work: SharedWork, size: int, when: str) -> list[Any]:
        if work.parts is None:
            raise ValueError(
                f"cache_features: in {when} no product depends on the rows and on frozen weights "
                "alone: noise, a trained weight or augment= comes before; leave cache_features out"
            )
        wrong = [leaf for leaf in work.shapes if leaf.shape[:1] != (size,)]
        if wrong:
            raise ValueError(
                f"cache_features: in {when} a value of shape {list(wrong[0].shape)} is kept, which "
                f"does not begin with the {size} rows of a batch, so it is not of single rows; "
                "leave cache_features out"
            )
        lead = (folds,) if data.folded else ()
        rows = len(next(iter(data.arrays.values())))
        return [jax.ShapeDtypeStruct((*lead, rows, *s.shape[1:]), s.dtype) for s in work.shapes]

    return Features(
        of(works.train, works.batch_size, "training"),
        of(works.valid, works.eval_batch_size, "scoring"),
    )


def all_features(
    plan: Plan, works: Works, folds: int, arguments: Arguments
) -> tuple[Features, Array]:
    """Returns the features of all rows, and by how much those of a row differ where the other rows
    of its batch are others, compared with the largest."""
    train, off = _of_all(plan, works.train, works.batch_size, folds, arguments)
    valid, off_too = _of_all(plan, works.valid, works.eval_batch_size, folds, arguments)
    return Features(train, valid), jnp.maximum(off, off_too)


def _of_all(
    plan: Plan, work: SharedWork, size: int, folds: int, arguments: Arguments
) -> tuple[list[Array], Array]:
    data, parts = arguments.data, work.parts
    assert data is not None
    assert parts is not None
    weights, folded = shared_weights(plan, arguments), data.folded
    count = len(next(iter(data.arrays.values())))

    def compute(index: Array) -> list[Array]:
        """[size] -> values of one batch, or of a batch of every fold."""
        if not folded:
            return parts.known(jax.tree.leaves((data.take(index), weights)))
        batches = data.take(jnp.broadcast_to(index, (folds, *index.shape)))
        return lax.map(lambda batch: parts.known(jax.tree.leaves((batch, weights))), batches)

    places = jnp.arange(-(-count // size) * size, dtype=jnp.int32).reshape(-1, size) % count
    values = lax.map(compute, places)  # [batches, (folds,) size, ...]
    first = places[0]
    others = jnp.where(jnp.arange(size) < (size + 1) // 2, first, count - 1 - first)
    half = (slice(None),) * folded + (slice(0, (size + 1) // 2),)
    off = [
        jnp.max(jnp.abs(a[0][half] - b[half])) / jnp.maximum(jnp.max(jnp.abs(b)), 1e-30)
        for a, b in zip(values, compute(others), strict=True)
        if jnp.issubdtype(b.dtype, jnp.floating) and b.size
    ]
    most = functools.reduce(jnp.maximum, off, jnp.zeros(()))
    return [_joined(leaf, folded, count) for leaf in values], most.astype(jnp.float32)


def _joined(values: Array, folded: bool, count: int) -> Array:
    """Returns [(folds,) count, ...] from [batches, (folds,) size, ...]."""
    lead = int(folded)
    if folded:
        values = jnp.moveaxis(values, 1, 0)
    rows = values.reshape(*values.shape[:lead], -1, *values.shape[lead + 2 :])
    return lax.slice_in_dim(rows, 0, count, axis=lead)
