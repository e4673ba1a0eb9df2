"""Totals of evaluation batches: parts that are summed, and parts that are kept per row."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from vtune.returned import ReturnedError, described
from vtune.types import Array, PyTree, at_least_single


def is_rows(leaf: Any) -> bool:
    """Whether a leaf is a `PerRow`."""
    return isinstance(leaf, PerRow)


def check_rows(who: str, totals: PyTree, rows: int) -> None:
    """Raises ReturnedError where what the function `who` keeps per row does not begin with them."""
    for part in filter(is_rows, jax.tree.leaves(totals, is_leaf=is_rows)):
        for leaf in jax.tree.leaves(part.value):
            if jnp.shape(leaf)[:1] != (rows,):
                raise ReturnedError(
                    f"{who} returned {described(jnp.asarray(leaf))} inside vt.metrics.PerRow for a "
                    f"batch of {rows} rows; return a value a row, [{rows}, ...], or sum it up"
                )


def split_rows(totals: PyTree) -> tuple[PyTree, PyTree]:
    """Splits totals into (summed part, part kept per row), each with None for the other."""
    summed = jax.tree.map(lambda t: None if is_rows(t) else widened(t), totals, is_leaf=is_rows)
    rows = jax.tree.map(lambda t: t if is_rows(t) else None, totals, is_leaf=is_rows)
    return summed, rows


def join_rows(summed: PyTree, rows: PyTree, leading: int = 1) -> PyTree:
    """Joins the two parts of `split_rows` after all batches.

    Args:
      rows: leaves [batches, pop, batch, ...], concatenated to [pop, batches * batch, ...].
      leading: number of axes in the place of pop.
    """

    def join(leaf: Array) -> Array:
        shape = (*leaf.shape[1 : leading + 1], -1, *leaf.shape[leading + 2 :])
        return jnp.moveaxis(leaf, 0, leading).reshape(shape)

    def pick(a: Any, b: Any) -> Any:
        return jax.tree.map(join, b) if is_rows(b) else a

    empty = lambda leaf: leaf is None or is_rows(leaf)
    return jax.tree.map(pick, summed, rows, is_leaf=empty)


def widened(tree: PyTree) -> PyTree:
    """Casts small dtypes to 32 bits, so that sums over many batches neither drift nor overflow."""

    def widen(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        if leaf.dtype == bool or jnp.issubdtype(leaf.dtype, jnp.integer):
            return leaf.astype(jnp.promote_types(leaf.dtype, jnp.int32))
        return at_least_single(leaf)

    return jax.tree.map(widen, tree)


@jax.tree_util.register_pytree_node_class
class PerRow:
    """Marks a part of a metric's totals that is kept per row instead of summed.

    For metrics that need every row, such as ROC-AUC. `measure` returns `PerRow(value)` with leaves
    `[batch, ...]`; `score` gets a `PerRow` whose leaves have all evaluation rows on the first axis,
    padding included. Put the weights into it as well, which are 0 on padding.

    Attributes:
      value: a pytree.
    """

    def __init__(self, value: PyTree):
        self.value = value

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> PerRow:
        return cls(children[0])
