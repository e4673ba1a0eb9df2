"""Gradients row by row, for optimizers that clip each of them (differentially private training).

`optax.contrib.dpsgd` and `differentially_private_aggregate` are known by their state. What stands
behind them in a chain gets one gradient, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vtune.learner.optimizer_arguments import holds
from vtune.types import Array, Batch, PyTree


def takes_rows(opt_state: PyTree) -> bool:
    """Whether an optimizer takes gradients [rows, ...] and makes one of them."""
    return holds(opt_state, optax.contrib.DifferentiallyPrivateAggregateState)


def gradients_by_row(
    alone: Callable[[PyTree, Batch, Array], tuple[Array, PyTree]], params: PyTree, batch: Batch
) -> tuple[Array, PyTree, PyTree]:
    """Returns the mean loss, the sums of the metrics' totals, and the gradients [rows, ...].

    Args:
      alone: (params, batch of one row, the row's number) -> (its loss, totals of metrics).
    """

    def one_row(row: Batch, number: Array) -> Any:
        batch = jax.tree.map(lambda leaf: leaf[None], row)
        return jax.value_and_grad(alone, has_aux=True)(params, batch, number)

    rows = jax.tree.leaves(batch)[0].shape[0]
    (values, totals), grads = jax.vmap(one_row)(batch, jnp.arange(rows, dtype=jnp.int32))
    return values.mean(), jax.tree.map(lambda leaf: leaf.sum(axis=0), totals), grads


def check_alone(before: PyTree, after: PyTree) -> None:
    """Raises ValueError where a row alone would change what rows share."""
    pairs = zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True)
    changed = [jax.tree_util.keystr(path) for (path, old), new in pairs if new is not old]
    if changed:
        raise ValueError(
            f"the optimizer takes a gradient a row, but training changes {changed[0]}, which all "
            "rows share, as the statistics of BatchNorm; write nn.GroupNorm or nn.LayerNorm"
        )


def check_aggregated(updates: PyTree, params: PyTree) -> None:
    """Raises ValueError where updates still have the axis of rows."""
    for update, weights in zip(jax.tree.leaves(updates), jax.tree.leaves(params), strict=True):
        if update.shape != weights.shape:
            raise ValueError(
                f"the optimizer takes a gradient a row and returned an update {list(update.shape)} "
                f"for weights {list(weights.shape)}; put differentially_private_aggregate first in "
                "optax.chain(...), and give it all weights"
            )
