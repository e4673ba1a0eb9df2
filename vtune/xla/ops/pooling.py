"""Pooling as slices, sums and comparisons.

The places of a window become an axis, or several where windows lie side by side, and are reduced.
Derivatives have a form of their own: differentiation would undo one comparison after the other.
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
from vtune.xla.ops.windows import MAX_TAPS, Params, Sizes, padded, places, side_by_side, slices

MOST_PARTS = 32  # taken apart one by one; more are one reduction


def pool(how: str, operand: Array, params: Params) -> Array | None:
    """`reduce_window` of "max", "min" or "sum" over any axes; None for what is not known.

    Of equal values in a window the first one takes the gradient, as in XLA's own.
    """
    window, stride = params["window_dimensions"], params["window_strides"]
    dilation = params["window_dilation"]
    if set(params["base_dilation"]) > {1} or not jnp.issubdtype(operand.dtype, jnp.floating):
        return None
    fill = {"max": -jnp.inf, "min": jnp.inf, "sum": 0.0}[how]
    x = padded(operand, [(low, high, 0) for low, high in params["padding"]], fill)
    out = places(x.shape, window, stride, dilation)
    if min(out) < 1:
        return None
    if how == "sum" and x.dtype.itemsize < 4:  # so that it is rounded once
        x = x.astype(jnp.float32)
    beside = window == stride and set(dilation) <= {1}
    if beside and (how == "sum" or math.prod(window) <= MOST_PARTS):
        return _reduce(how, *side_by_side(x, out, window)).astype(operand.dtype)
    if not beside and math.prod(window) > MAX_TAPS:
        return None
    for axis in reversed(range(x.ndim)):  # the last one first, so that the first of equals stays it
        x = _pool_along(how, x, axis, out[axis], window[axis], stride[axis], dilation[axis])
    return x.astype(operand.dtype)


def _pool_along(
    how: str, x: Array, axis: int, out: int, window: int, stride: int, dilation: int
) -> Array:
    """`out` windows along one axis."""
    only = lambda n, others: (*others[:axis], n, *others[axis + 1 :])
    once = (1,) * x.ndim
    size, inside = only(out, x.shape), only(window, once)
    if window == stride and dilation == 1:
        return _reduce(how, *side_by_side(x, size, inside))
    parts = slices(x, size, inside, only(stride, once), only(dilation, once))
    return _reduce(how, jnp.stack(list(parts)), (0,))


def pool_gradient(source: Array, operand: Array, params: Params) -> Array | None:
    """`select_and_scatter_add`: what differentiation makes of a max- or min-pooling."""
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
    """The "max", "min" or "sum" over axes, which are left out."""
    if not axes:
        return x
    return (_sum(x, axes) if how == "sum" else _extreme(how, x, axes)).squeeze(axes)


def _count(x: Array, axes: Sizes) -> int:
    return math.prod(x.shape[axis] for axis in axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _sum(x: Array, axes: Sizes) -> Array:
    if _count(x, axes) > MOST_PARTS:
        return x.sum(axes, keepdims=True)
    return _in_halves(lambda x: functools.reduce(jnp.add, _parts(x, axes)), x, axes)


@_sum.defjvp
def _sum_jvp(axes: Sizes, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _sum(primals[0], axes), tangents[0].sum(axes, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def _extreme(how: str, x: Array, axes: Sizes) -> Array:
    if _count(x, axes) > MOST_PARTS:
        return (x.max if how == "max" else x.min)(axes, keepdims=True)
    larger = lax.max if how == "max" else lax.min
    return _in_halves(lambda x: functools.reduce(larger, _parts(x, axes)), x, axes)


@_extreme.defjvp
def _extreme_jvp(how: str, axes: Sizes, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    # Roots of the numbers, which XLA keeps; the numbers it would find again for each place.
    first = lax.sqrt(_first(how, x, axes))
    edges = np.arange(_count(x, axes) + 1) - 0.5
    edges = (np.sign(edges) * np.sqrt(np.abs(edges))).astype(np.float32)
    sizes = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
    below, above = edges[:-1].reshape(sizes), edges[1:].reshape(sizes)
    chosen = jnp.where((below < first) & (first < above), dx, 0)
    return _extreme(how, x, axes), chosen.sum(axes, keepdims=True)


def _in_halves(f: Callable[[Array], Array], x: Array, axes: Sizes) -> Array:
    """f(x), which reduces the axes, joined from two halves along another one.

    A join's parts XLA writes in order; a result alone that is flattened afterwards, as between
    convolutions and dense layers, it would find place by place, dividing the place's number.
    """
    along = next((axis for axis, n in enumerate(x.shape) if axis not in axes and n > 1), None)
    if along is None:
        return f(x)
    halves = jnp.split(x, [x.shape[along] // 2], along)
    return jnp.concatenate([f(half) for half in halves], along)


def _first(how: str, x: Array, axes: Sizes) -> Array:
    """The number of the first part that has the extreme, NaN being the most extreme, in float32."""
    if _count(x, axes) > MOST_PARTS:
        (axis,) = axes
        where = (jnp.argmax if how == "max" else jnp.argmin)(x, axis, keepdims=True)
        return where.astype(jnp.float32)
    holds = jnp.greater_equal if how == "max" else jnp.less_equal
    parts = _parts(x, axes)
    best = next(parts)
    first = jnp.zeros(best.shape, jnp.float32)
    for number, part in enumerate(parts, 1):
        stays = holds(best, part) | jnp.isnan(best)
        best, first = jnp.where(stays, best, part), jnp.where(stays, first, number)
    return first


def _parts(x: Array, axes: Sizes) -> Iterator[Array]:
    """By place along the axes, of which each becomes 1 long."""
    out = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    inside = tuple(n if axis in axes else 1 for axis, n in enumerate(x.shape))
    once = (1,) * x.ndim
    return slices(x, out, inside, once, once)
