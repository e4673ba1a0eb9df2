"""Convolution as slices, sums and matrix products.

What XLA's CPU backend does with a convolution inside a loop, or with one that vmap has turned into
a grouped one, is up to a hundred times slower. Of several algorithms the first one that pays is
taken; patches (im2col) are the last resort.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.types import Array
from vtune.xla.ops import shift_add, winograd
from vtune.xla.ops.algorithm import Algorithm, Convolution, Limits
from vtune.xla.ops.windows import (
    MAX_TAPS,
    Params,
    Sizes,
    output_sizes,
    pad_space,
    split_windows,
    taps,
)


def _patch_bytes_per_row(x: Array, w: Array, convolution: Convolution) -> int:
    numbers = math.prod(convolution.out) * math.prod(convolution.window) * x.shape[-1]
    return numbers * x.dtype.itemsize


def _by_patches(x: Array, w: Array, convolution: Convolution) -> Array:
    window, stride, dilation = convolution.window, convolution.stride, convolution.dilation
    return convolution.product(list(taps(x, convolution.out, window, stride, dilation)), w)


PATCHES = Algorithm(
    pays=lambda x, w, convolution: True,
    bytes_per_row=_patch_bytes_per_row,
    run=_by_patches,
    limits=Limits(2**22, 2**19),  # a piece stays in a core's own cache
)
ALGORITHMS = (winograd.ALGORITHM, shift_add.ALGORITHM, PATCHES)


def convolve(x: Array, w: Array, params: Params, fewer_products: bool = False) -> Array | None:
    """Computes `lax.conv_general_dilated`: any rank, padding, stride, dilation and groups.

    Returns None for what is not supported: other numbers than real ones, windows of more than
    `MAX_TAPS` places that are not adjacent.

    Args:
      x, w: input and weights, in the layout that `params` states.
      fewer_products: whether to save products where Winograd's sums are quicker.
    """
    numbers = params["dimension_numbers"]
    groups, row_groups = params["feature_group_count"], params["batch_group_count"]
    if not all(jnp.issubdtype(a.dtype, jnp.floating) for a in (x, w)) or x.dtype != w.dtype:
        return None
    if 0 in (*x.shape, *w.shape):
        return None
    x = _channels_last(x, numbers.lhs_spec)  # [rows, *space, in]
    w = _permute(w, (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]))
    if row_groups > 1:  # groups of rows become groups of channels
        x = x.reshape(row_groups, -1, *x.shape[1:])
        x = jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)
        groups = row_groups
    window = w.shape[:-2]
    stride, dilation = params["window_strides"], params["rhs_dilation"]
    padding, spread = params["padding"], params["lhs_dilation"]
    space = [(s - 1) * d + 1 for s, d in zip(x.shape[1:-1], spread, strict=True)]
    sizes = tuple(s + low + high for s, (low, high) in zip(space, padding, strict=True))
    dtype = params["preferred_element_type"] or x.dtype
    convolution = Convolution(
        sizes,
        output_sizes(sizes, window, stride, dilation),
        window,
        stride,
        dilation,
        padding,
        spread,
        functools.partial(_product, groups=groups, precision=params["precision"], dtype=dtype),
        separable=x.shape[-1] == w.shape[-2] and x.dtype.itemsize >= 4,
        fewer_products=fewer_products,
    )
    y = _convolve(x, w, convolution)
    return None if y is None else _from_channels_last(y, numbers.out_spec)


def _convolve(x: Array, w: Array, convolution: Convolution) -> Array | None:
    out, window, stride = convolution.out, convolution.window, convolution.stride
    dilation, spread = convolution.dilation, convolution.spread
    if min(out, default=1) < 1:
        return None
    one_group = x.shape[-1] == w.shape[-2]
    if window == stride and {*dilation, *spread} <= {1} and one_group:  # as in a ViT
        x = pad_space(x, convolution.padding, spread)
        return convolution.product(_adjacent_patches(x, out, window), w)
    if math.prod(window) > MAX_TAPS:
        return None
    if max(spread, default=1) > 1 and max(stride, default=1) == 1:
        return _transposed(x, w, convolution)
    algorithm = next(one for one in ALGORITHMS if one.pays(x, w, convolution))
    return _run(algorithm, x, w, convolution)


def _run(algorithm: Algorithm, x: Array, w: Array, convolution: Convolution) -> Array:
    """Runs an algorithm for all rows of x at once, or for pieces of them one after the other."""
    bytes_per_row = algorithm.bytes_per_row(x, w, convolution)
    x, weights = algorithm.prepare(x, w, convolution)
    run = lambda x, weights: algorithm.run(x, weights, convolution)
    rows, out = x.shape[0], convolution.out
    if rows * bytes_per_row <= algorithm.limits.whole:
        y = run(x, weights)
    else:
        fit = max(1, algorithm.limits.piece // bytes_per_row)
        count = next(n for n in range(min(fit, rows), 0, -1) if rows % n == 0)
        recomputed = jax.checkpoint(run, prevent_cse=False)
        pieces = x.reshape(-1, count, *x.shape[1:])
        y = lax.map(lambda piece: recomputed(piece, weights), pieces)
        y = y.reshape(rows, *y.shape[2:])
    return y if y.shape[1:-1] == out else y[(slice(None), *(slice(0, size) for size in out))]


def _transposed(x: Array, w: Array, convolution: Convolution) -> Array:
    """Computes a transposed convolution: products of all inputs with every place of the window.

    They are laid out and summed, so that no product is taken with the zeros between the inputs.
    """
    padding, spread = convolution.padding, convolution.spread
    total: Any = 0
    for place in itertools.product(*map(range, convolution.window)):
        part = convolution.product([x], w[place][(None,) * len(place)])
        edges = [(0, 0, 0)]
        for axis, offset in enumerate(place):
            low = padding[axis][0] - offset * convolution.dilation[axis]
            reach = (x.shape[1 + axis] - 1) * spread[axis] + 1
            edges.append((low, convolution.out[axis] - low - reach, spread[axis] - 1))
        total = total + lax.pad(part, jnp.zeros((), part.dtype), [*edges, (0, 0, 0)])
    return total


def _product(taps: list[Array], w: Array, *, groups: int, precision: Any, dtype: Any) -> Array:
    """Returns the sum over taps [rows, *space, in] times their weights, [rows, *space, out]."""
    inner, outer = w.shape[-2:]
    shape = taps[0].shape[:-1]
    if groups == 1:
        # As matrices: the gradient of a product over several axes is transposed in memory first.
        patches = jnp.concatenate(taps, -1).reshape(-1, len(taps) * taps[0].shape[-1])
        y = _dot(patches, w.reshape(-1, outer), ((1,), (0,)), ((), ()), precision, dtype)
        return y.reshape(*shape, outer)
    w = w.reshape(-1, inner, groups, outer // groups)
    if inner == 1:  # depthwise: no sum within a tap, so no matrix
        wide = jnp.promote_types(dtype, jnp.float32)
        factors = w.astype(wide).reshape(-1, *(1,) * len(shape), groups, outer // groups)
        parts = [tap[..., None].astype(wide) * w for tap, w in zip(taps, factors, strict=True)]
        return functools.reduce(jnp.add, parts).reshape(*shape, outer).astype(dtype)
    patches = jnp.concatenate([tap.reshape(*shape, groups, inner) for tap in taps], -1)
    w = jnp.moveaxis(w, 2, 0).reshape(groups, -1, outer // groups)
    last = patches.ndim - 1
    y = _dot(patches, w, ((last,), (1,)), ((last - 1,), (0,)), precision, dtype)
    return jnp.moveaxis(y, 0, -2).reshape(*shape, outer)


def _dot(a: Array, b: Array, contract: Any, batch: Any, precision: Any, dtype: Any) -> Array:
    return lax.dot_general(
        a, b, (contract, batch), precision=precision, preferred_element_type=dtype
    )


def _adjacent_patches(x: Array, out: Sizes, window: Sizes) -> list[Array]:
    """Returns adjacent windows as one tap [rows, *out, window * in]."""
    rows, inner = x.shape[0], x.shape[-1]
    split, window_axes = split_windows(x, (rows, *out, inner), (1, *window, 1))
    other_axes = [axis for axis in range(split.ndim - 1) if axis not in window_axes]
    return [_permute(split, (*other_axes, *window_axes, split.ndim - 1)).reshape(rows, *out, -1)]


def _channels_last(x: Array, spec: Sequence[int]) -> Array:
    """Transposes to [rows, *space, channels]."""
    return _permute(x, (spec[0], *spec[2:], spec[1]))


def _from_channels_last(y: Array, spec: Sequence[int]) -> Array:
    """Undoes `_channels_last`: spec[0] is the axis of rows, spec[1] that of channels."""
    order = (spec[0], *spec[2:], spec[1])
    return _permute(y, [order.index(axis) for axis in range(len(order))])


def _permute(x: Array, order: Sequence[int]) -> Array:
    return x if list(order) == list(range(x.ndim)) else lax.transpose(x, tuple(order))
