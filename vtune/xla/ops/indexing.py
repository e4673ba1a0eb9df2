"""Picking one number from each row by comparisons, as a loss picks the output of the true label.

The gradient of a gather scatters into zeros, which a GPU does in two kernels of its own, with
atomic sums. The gradient of a comparison is a comparison, and fuses with what follows.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.types import Array


def pick(operand: Array, indices: Array, params: dict[str, Any]) -> Array | None:
    """Computes a `gather` that takes one number along an axis; None if it does anything else."""
    dims, axis = params["dimension_numbers"], operand.ndim - 1
    rows = tuple(range(axis))
    if (
        operand.ndim < 2
        or not jnp.issubdtype(operand.dtype, jnp.floating)
        or params["mode"] != lax.GatherScatterMode.FILL_OR_DROP
        or dims.collapsed_slice_dims != (axis,)
        or dims.start_index_map != (axis,)
        or dims.operand_batching_dims != rows
        or dims.start_indices_batching_dims != rows
        or indices.shape != (*operand.shape[:axis], 1, 1)
    ):
        return None
    index = indices[..., 0]  # [*rows, 1]
    classes = operand.shape[axis]
    places = np.arange(classes, dtype=indices.dtype).reshape(*[1] * axis, classes)
    chosen = index == places
    total = jnp.where(chosen, operand, 0).sum(-1, keepdims=True)
    fill = params["fill_value"]
    inside = (index >= 0) & (index < classes)
    return jnp.where(inside, total, jnp.asarray(jnp.nan if fill is None else fill, operand.dtype))
