"""Convolution as slices, sums and matrix products.

What XLA's CPU backend does with a convolution inside a loop, or with one that vmap has turned into
a grouped one, is up to a hundred times slower.

A *tap* is one position of the window: the strided slice of the input that this position meets as
the window moves over it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.types import Array
from vtune.xla.ops import shift_add, winograd
from vtune.xla.ops.windows import MAX_TAPS, Params, Sizes, padded, places, side_by_side, slices


class Pieces(NamedTuple):
    """Bytes of what is made of the rows before the product: up to `whole` at once and kept for the
    gradient, more in a loop over pieces, and again for the gradient."""

    whole: int
    piece: int


PATCHES = Pieces(2**22, 2**19)  # a piece stays in a core's own cache
STRIPS = Pieces(2**24, 2**21)
SUMS = Pieces(2**25, 2**25)


def convolve(x: Array, w: Array, params: Params, fewer: bool = False) -> Array | None:
    """`lax.conv_general_dilated`: any rank, padding, stride, dilation and groups; None for what is
    not known.

    The layouts are brought to x [rows, *space, in], w [*window, in of a group, out].

    Args:
      fewer: whether to save products where Winograd's sums are quicker.
    """
    numbers = params["dimension_numbers"]
    groups, row_groups = params["feature_group_count"], params["batch_group_count"]
    if not all(jnp.issubdtype(a.dtype, jnp.floating) for a in (x, w)) or x.dtype != w.dtype:
        return None
    if 0 in (*x.shape, *w.shape):
        return None
    x = _channels_last(x, numbers.lhs_spec)
    w = _permute(w, (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]))
    if row_groups > 1:  # rows in groups are channels in groups
        x = x.reshape(row_groups, -1, *x.shape[1:])
        x = jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)
        groups = row_groups
    kind = params["preferred_element_type"] or x.dtype
    product = functools.partial(_product, groups=groups, precision=params["precision"], kind=kind)
    y = _convolve(
        x,
        w,
        product,
        stride=params["window_strides"],
        padding=params["padding"],
        spread=params["lhs_dilation"],
        dilation=params["rhs_dilation"],
        fewer=fewer,
    )
    return None if y is None else _from_channels_last(y, numbers.out_spec)


def _convolve(
    x: Array,
    w: Array,
    product: Any,
    *,
    stride: Sizes,
    padding: Any,
    spread: Sizes,
    dilation: Sizes,
    fewer: bool,
) -> Array | None:
    space, window = x.shape[1:-1], w.shape[:-2]
    spread_space = [(s - 1) * d + 1 for s, d in zip(space, spread, strict=True)]
    sizes = [s + low + high for s, (low, high) in zip(spread_space, padding, strict=True)]
    out = places(sizes, window, stride, dilation)
    if min(out, default=1) < 1:
        return None
    dense, one_group = {*dilation, *spread} <= {1}, x.shape[-1] == w.shape[-2]
    if window == stride and dense and one_group:  # windows side by side, as in a ViT
        x = _pad(x, padding, spread, 0.0)
        return product(_blocks(x, out, window), w)
    if math.prod(window) > MAX_TAPS:
        return None
    if max(spread, default=1) > 1 and max(stride, default=1) == 1:
        return _spread_products(x, w, product, out, padding, spread, dilation)
    plain = one_group and x.dtype.itemsize >= 4  # half precision would be rounded in between
    if fewer and plain and dense and set(stride) == {1} and winograd.pays(out, w):
        return _by_squares(x, w, product, out, padding)
    x = _pad(x, padding, spread, 0.0)
    if plain and shift_add.pays(x.shape[-2], out[-1], w, stride):
        return _by_strips(x, w, product, out, stride, dilation)

    def whole(x: Array, w: Array) -> Array:
        return product(list(_taps(x, out, window, stride, dilation)), w)

    bytes_a_row = math.prod(out) * math.prod(window) * x.shape[-1] * x.dtype.itemsize
    return _by_pieces(whole, x, w, bytes_a_row, PATCHES)


def _by_strips(
    x: Array, w: Array, product: Any, out: Sizes, stride: Sizes, dilation: Sizes
) -> Array:
    *_, width, _ = x.shape
    window = (*w.shape[:-3], 1)

    def whole(x: Array, w: Array) -> Array:
        taps = list(_taps(x, (*out[:-1], width), window, stride, dilation))
        return shift_add.convolve(taps, w, out[-1], dilation[-1], product)

    return _by_pieces(whole, x, w, shift_add.bytes_a_row(width, out, w), STRIPS)


def _by_squares(x: Array, w: Array, product: Any, out: Sizes, padding: Any) -> Array:
    """Winograd's way, which makes squares of 2 x 2 outputs."""
    edges = [(low, high + o % 2) for (low, high), o in zip(padding, out, strict=True)]
    x = _pad(x, edges, (1, 1), 0.0)

    def whole(x: Array, sums: list[Array]) -> Array:
        return winograd.convolve(x, sums, lambda own, weights: product([own], weights))

    y = _by_pieces(whole, x, winograd.weight_sums(w), winograd.bytes_a_row(out, w), SUMS)
    return y[:, : out[0], : out[1]]


def _by_pieces(
    f: Callable[[Array, Any], Array], x: Array, w: Any, bytes_a_row: int, pieces: Pieces
) -> Array:
    """f(x, w), at once or for some rows of x at a time."""
    rows = x.shape[0]
    if rows * bytes_a_row <= pieces.whole:
        return f(x, w)
    fit = max(1, pieces.piece // bytes_a_row)
    count = next(n for n in range(min(fit, rows), 0, -1) if rows % n == 0)
    again = jax.checkpoint(f, prevent_cse=False)
    y = lax.map(lambda part: again(part, w), x.reshape(-1, count, *x.shape[1:]))
    return y.reshape(rows, *y.shape[2:])


def _spread_products(
    x: Array, w: Array, product: Any, out: Sizes, padding: Any, spread: Sizes, dilation: Sizes
) -> Array:
    """The transposed convolution: every input point times the whole window, laid out and summed,
    so that no product is taken with the zeros between the points."""
    total: Any = 0
    window = w.shape[:-2]
    for place in itertools.product(*map(range, window)):
        part = product([x], w[place][(None,) * len(window)])
        edges = [(0, 0, 0)]
        for axis, at in enumerate(place):
            low = padding[axis][0] - at * dilation[axis]
            reach = (x.shape[1 + axis] - 1) * spread[axis] + 1
            edges.append((low, out[axis] - low - reach, spread[axis] - 1))
        total = total + lax.pad(part, jnp.zeros((), part.dtype), [*edges, (0, 0, 0)])
    return total


def _product(taps: list[Array], w: Array, *, groups: int, precision: Any, kind: Any) -> Array:
    """The sum over taps [rows, *space, in] times their weights, [rows, *space, out]."""
    inner, outer = w.shape[-2:]
    shape = taps[0].shape[:-1]
    if groups == 1:
        # As matrices: the gradient of a product over several axes is transposed in memory first.
        patches = jnp.concatenate(taps, -1).reshape(-1, len(taps) * taps[0].shape[-1])
        y = _dot(patches, w.reshape(-1, outer), ((1,), (0,)), ((), ()), precision, kind)
        return y.reshape(*shape, outer)
    w = w.reshape(-1, inner, groups, outer // groups)
    if inner == 1:  # depthwise: no sum within a tap, so no matrix
        wide = jnp.promote_types(kind, jnp.float32)
        factors = w.astype(wide).reshape(-1, *(1,) * len(shape), groups, outer // groups)
        parts = [tap[..., None].astype(wide) * w for tap, w in zip(taps, factors, strict=True)]
        return functools.reduce(jnp.add, parts).reshape(*shape, outer).astype(kind)
    patches = jnp.concatenate([tap.reshape(*shape, groups, inner) for tap in taps], -1)
    w = jnp.moveaxis(w, 2, 0).reshape(groups, -1, outer // groups)
    last = patches.ndim - 1
    y = _dot(patches, w, ((last,), (1,)), ((last - 1,), (0,)), precision, kind)
    return jnp.moveaxis(y, 0, -2).reshape(*shape, outer)


def _dot(a: Array, b: Array, contract: Any, batch: Any, precision: Any, kind: Any) -> Array:
    return lax.dot_general(
        a, b, (contract, batch), precision=precision, preferred_element_type=kind
    )


def _taps(x: Array, out: Sizes, window: Sizes, stride: Sizes, dilation: Sizes) -> Iterator[Array]:
    """By place in the window, [rows, *out, in]."""
    whole = (1,) * (x.ndim - 1 - len(window))
    return slices(
        x,
        (x.shape[0], *out, *x.shape[1 + len(out) :]),
        (1, *window, *whole),
        (1, *stride, *whole),
        (1, *dilation, *whole),
    )


def _blocks(x: Array, out: Sizes, window: Sizes) -> list[Array]:
    """Windows that lie side by side, as one tap [rows, *out, window * in]."""
    rows, inner = x.shape[0], x.shape[-1]
    split, inside = side_by_side(x, (rows, *out, inner), (1, *window, 1))
    outside = [axis for axis in range(split.ndim - 1) if axis not in inside]
    return [_permute(split, (*outside, *inside, split.ndim - 1)).reshape(rows, *out, -1)]


def _pad(x: Array, padding: Any, spread: Sizes, fill: float) -> Array:
    """Pads the space of x [rows, *space, in], with `spread` - 1 zeros between its points."""
    edges = [(low, high, d - 1) for (low, high), d in zip(padding, spread, strict=True)]
    return padded(x, [(0, 0, 0), *edges, (0, 0, 0)], fill)


def _channels_last(x: Array, spec: Sequence[int]) -> Array:
    return _permute(x, (spec[0], *spec[2:], spec[1]))


def _from_channels_last(y: Array, spec: Sequence[int]) -> Array:
    """The inverse: axis spec[0] are the rows, spec[1] the channels, the rest space."""
    ours = (spec[0], *spec[2:], spec[1])
    return _permute(y, [ours.index(axis) for axis in range(len(ours))])


def _permute(x: Array, order: Sequence[int]) -> Array:
    return x if list(order) == list(range(x.ndim)) else lax.transpose(x, tuple(order))
