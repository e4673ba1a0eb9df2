"""Convolutions of several members as convolutions in groups, each member a group.

vmap does the same to a convolution, but not to its gradient: the gradient of the weights becomes a
convolution whose window is as large as the image, of images that are turned for it. Written as
groups of rows, a GPU's library knows it for what it is, and nothing is turned. What strides leave
in a gradient goes first (strides.py). So this replaces convolutions in a step that is
differentiated already. On a TPU it is not used.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from vtune.types import Array
from vtune.xla.ops import strides
from vtune.xla.ops.windows import Params

_KEPT = (
    *("window_strides", "padding", "lhs_dilation", "rhs_dilation"),
    *("dimension_numbers", "precision", "preferred_element_type"),
)


def convolve(x: Array, w: Array, params: Params) -> Array | None:
    """Computes `lax.conv_general_dilated`, under vmap that of several members; None for one that
    is in groups already."""
    if params["feature_group_count"] > 1 or params["batch_group_count"] > 1:
        return None
    x, w, params, finish = strides.dense(x, w, params)
    given = {name: params[name] for name in _KEPT}
    run: Callable[..., Array] = functools.partial(lax.conv_general_dilated, **given)
    numbers = params["dimension_numbers"]
    one = custom_vmap(run)

    @one.def_vmap
    def _several(members: int, batched: Any, x: Array, w: Array) -> tuple[Array, bool]:
        if not all(batched):
            return jax.vmap(run, [0 if own else None for own in batched])(x, w), True
        out = jax.eval_shape(run, *(jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for a in (x, w)))
        of_weights = _size(w.shape[1:], numbers.rhs_spec) > _size(out.shape, numbers.out_spec)
        # In the gradient of weights the channels that come in are where others have rows.
        axis = numbers.lhs_spec[0 if of_weights else 1]
        kind = "batch_group_count" if of_weights else "feature_group_count"
        y = run(_merged(x, axis), _merged(w, numbers.rhs_spec[0]), **{kind: members})
        return _apart(y, numbers.out_spec[1], members), True

    return finish(one(x, w))


def _size(shape: Sequence[int], spec: Sequence[int]) -> tuple[int, int]:
    """Returns how many places there are in space, and how many numbers in all."""
    return math.prod(shape[axis] for axis in spec[2:]), math.prod(shape)


def _merged(a: Array, axis: int) -> Array:
    """[members, ...] -> the members merged into an axis of the rest, in front of its own."""
    a = jnp.moveaxis(a, 0, axis)
    return a.reshape(*a.shape[:axis], -1, *a.shape[axis + 2 :])


def _apart(a: Array, axis: int, members: int) -> Array:
    """Undoes `_merged`."""
    a = a.reshape(*a.shape[:axis], members, -1, *a.shape[axis + 1 :])
    return jnp.moveaxis(a, axis, 0)
