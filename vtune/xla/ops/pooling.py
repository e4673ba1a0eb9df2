"""Pooling as slices, sums and comparisons.

The places of a window become an axis (or several, where windows are adjacent), which is reduced.
Derivatives are written out: automatic differentiation would undo one comparison after the other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.types import Array
from vtune.xla.ops.windows import (
    MAX_TAPS,
    Params,
    Sizes,
    output_sizes,
    padded,
    slices,
    split_windows,
)

MAX_PARTS = 32  # combined one by one; more are one reduction


def pool(how: str, operand: Array, params: Params) -> Array | None:
    """Computes `reduce_window` of "max", "min" or "sum" over any axes; None if not supported.

    The gradient goes to the first of equal values in a window, as in XLA.
    """
    window, stride = params["window_dimensions"], params["window_strides"]
    dilation = params["window_dilation"]
    if set(params["base_dilation"]) > {1} or not jnp.issubdtype(operand.dtype, jnp.floating):
        return None
    fill = {"max": -jnp.inf, "min": jnp.inf, "sum": 0.0}[how]
    x = padded(operand, [(low, high, 0) for low, high in params["padding"]], fill)
    out = output_sizes(x.shape, window, stride, dilation)
    if min(out) < 1:
        return None
    if how == "sum" and x.dtype.itemsize < 4:  # round once, at the end
        x = x.astype(jnp.float32)
    adjacent = window == stride and set(dilation) <= {1}
    if adjacent and (how == "sum" or math.prod(window) <= MAX_PARTS):
        return _reduce(how, *split_windows(x, out, window)).astype(operand.dtype)
    if not adjacent and math.prod(window) > MAX_TAPS:
        return None
    for axis in reversed(range(x.ndim)):  # last axis first: keeps the first of equals
        x = _pool_along(how, x, axis, out[axis], window[axis], stride[axis], dilation[axis])
    return x.astype(operand.dtype)


def _pool_along(
    how: str, x: Array, axis: int, out: int, window: int, stride: int, dilation: int
) -> Array:
    """Pools `out` windows along one axis."""
    at_axis = lambda n, others: (*others[:axis], n, *others[axis + 1 :])
    ones = (1,) * x.ndim
    sizes, windows = at_axis(out, x.shape), at_axis(window, ones)
    if window == stride and dilation == 1:
        return _reduce(how, *split_windows(x, sizes, windows))
    parts = slices(x, sizes, windows, at_axis(stride, ones), at_axis(dilation, ones))
    return _reduce(how, jnp.stack(list(parts)), (0,))


def pool_gradient(source: Array, operand: Array, params: Params) -> Array | None:
    """Computes `select_and_scatter_add`, the gradient of a max- or min-pooling."""
    how = {"ge": "max", "le": "min"}.get(params["select_prim"].name)
    if how is None:
        return None
    ones = (1,) * operand.ndim
    full = {**params, "base_dilation": ones, "window_dilation": ones}
    forward = lambda x: pool(how, x, full)
    shape = jax.eval_shape(forward, operand)
    if shape is None or shape.shape != source.shape:
        return None
    return jax.vjp(forward, operand)[1](source)[0]


def _reduce(how: str, x: Array, axes: Sizes) -> Array:
    """Reduces axes by "max", "min" or "sum" and removes them."""
    if not axes:
        return x
    return (_sum(x, axes) if how == "sum" else _extreme(how, x, axes)).squeeze(axes)


def _count(x: Array, axes: Sizes) -> int:
    return math.prod(x.shape[axis] for axis in axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _sum(x: Array, axes: Sizes) -> Array:
    if _count(x, axes) > MAX_PARTS:
        return x.sum(axes, keepdims=True)
    return _in_halves(lambda x: functools.reduce(jnp.add, _parts(x, axes)), x, axes)


@_sum.defjvp
def _sum_jvp(axes: Sizes, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _sum(primals[0], axes), tangents[0].sum(axes, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def _extreme(how: str, x: Array, axes: Sizes) -> Array:
    if _count(x, axes) > MAX_PARTS:
        return (x.max if how == "max" else x.min)(axes, keepdims=True)
    larger = lax.max if how == "max" else lax.min
    return _in_halves(lambda x: functools.reduce(larger, _parts(x, axes)), x, axes)


@_extreme.defjvp
def _extreme_jvp(how: str, axes: Sizes, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    # Compares square roots of the indices: XLA stores a root, and would compute a bare index anew
    # for each place.
    first = lax.sqrt(_first(how, x, axes))
    edges = np.arange(_count(x, axes) + 1) - 0.5
    edges = (np.sign(edges) * np.sqrt(np.abs(edges))).astype(np.float32)
    sizes = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
    below, above = edges[:-1].reshape(sizes), edges[1:].reshape(sizes)
    chosen = jnp.where((below < first) & (first < above), dx, 0)
    return _extreme(how, x, axes), chosen.sum(axes, keepdims=True)


def _in_halves(f: Callable[[Array], Array], x: Array, axes: Sizes) -> Array:
    """Returns f(x), which reduces the axes, joined from two halves along another axis.

    XLA writes the parts of a concatenation in order. A single result that is flattened afterwards,
    as between convolutions and dense layers, it would compute place by place, with a division for
    each index.
    """
    along = next((axis for axis, n in enumerate(x.shape) if axis not in axes and n > 1), None)
    if along is None:
        return f(x)
    halves = jnp.split(x, [x.shape[along] // 2], along)
    return jnp.concatenate([f(half) for half in halves], along)


def _first(how: str, x: Array, axes: Sizes) -> Array:
    """Returns the index (float32) of the first part with the extreme; NaN is the most extreme."""
    if _count(x, axes) > MAX_PARTS:
        (axis,) = axes
        where = (jnp.argmax if how == "max" else jnp.argmin)(x, axis, keepdims=True)
        return where.astype(jnp.float32)
    at_least = jnp.greater_equal if how == "max" else jnp.less_equal
    parts = _parts(x, axes)
    best = next(parts)
    first = jnp.zeros(best.shape, jnp.float32)
    for number, part in enumerate(parts, 1):
        stays = at_least(best, part) | jnp.isnan(best)
        best, first = jnp.where(stays, best, part), jnp.where(stays, first, number)
    return first


def _parts(x: Array, axes: Sizes) -> Iterator[Array]:
    """Yields the slices of x by place along the axes; each of these axes has length 1 in them."""
    out = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    window = tuple(n if axis in axes else 1 for axis, n in enumerate(x.shape))
    ones = (1,) * x.ndim
    return slices(x, out, window, ones, ones)
