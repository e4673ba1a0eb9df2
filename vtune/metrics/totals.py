"""Totals of evaluation batches: what is summed, and what is kept row by row."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from vtune.types import Array, PyTree


def is_rows(leaf: Any) -> bool:
    return isinstance(leaf, PerRow)


def split_rows(totals: PyTree) -> tuple[PyTree, PyTree]:
    """Totals as (what is summed, what is kept row by row), each with None for the other."""
    summed = jax.tree.map(lambda t: None if is_rows(t) else widened(t), totals, is_leaf=is_rows)
    rows = jax.tree.map(lambda t: t if is_rows(t) else None, totals, is_leaf=is_rows)
    return summed, rows


def join_rows(summed: PyTree, rows: PyTree, leading: int = 1) -> PyTree:
    """Puts the two parts together again; rows come as leaves [batches, pop, batch, ...], with more
    axes than pop where there are `leading` of them."""

    def join(leaf: Array) -> Array:
        shape = (*leaf.shape[1 : leading + 1], -1, *leaf.shape[leading + 2 :])
        return jnp.moveaxis(leaf, 0, leading).reshape(shape)

    def pick(a: Any, b: Any) -> Any:
        return jax.tree.map(join, b) if is_rows(b) else a

    empty = lambda leaf: leaf is None or is_rows(leaf)
    return jax.tree.map(pick, summed, rows, is_leaf=empty)


def widened(tree: PyTree) -> PyTree:
    """Small types widened, so that sums over many batches or steps neither drift nor wrap."""

    def widen(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        if leaf.dtype == bool or jnp.issubdtype(leaf.dtype, jnp.integer):
            return leaf.astype(jnp.promote_types(leaf.dtype, jnp.int32))
        return leaf

    return jax.tree.map(widen, tree)


@jax.tree_util.register_pytree_node_class
class PerRow:
    """Marks a part of `Totals` whose leaves `[batch, ...]` are kept row by row, not summed.

    `score` then finds a `PerRow` whose leaves have all evaluation rows as leading axis, padding
    included (put the weights into it as well). For metrics that need every row, such as
    ROC-AUC.
    """

    def __init__(self, value: PyTree):
        self.value = value

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> PerRow:
        return cls(children[0])
