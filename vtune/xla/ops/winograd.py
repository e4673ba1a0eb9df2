"""Convolution with a window of 3 x 3 by fewer products: Winograd's minimal filtering.

A square of 2 x 2 outputs takes 36 products of its 4 x 4 inputs with the 9 weights. Sums of the
inputs, times sums of the weights, give the same from 16 products:

    outputs = A'[(G w G') * (B' x B)]A    with  B' x = x0 - x2, x1 + x2, x2 - x1, x1 - x3
                                                G w  = w0, (w0 + w1 + w2)/2, (w0 - w1 + w2)/2, w2
                                                A' m = m0 + m1 + m2, m1 - m2 - m3

Over channels each of the 16 is a matrix product. S. Winograd, Arithmetic Complexity of Computations
(1980), F(2 x 2, 3 x 3); A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks
(2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from vtune.types import Array
from vtune.xla.ops.algorithm import Algorithm, Convolution, Limits
from vtune.xla.ops.windows import pad_space

MIN_CHANNELS = 32  # with fewer, the sums take longer than the products that they save
MIN_SAVING = 1.5  # times fewer products than the 9 of every output


def _pays(x: Array, w: Array, convolution: Convolution) -> bool:
    dense = {*convolution.stride, *convolution.dilation, *convolution.spread} == {1}
    if not (convolution.fewer_products and convolution.separable and dense):
        return False
    if w.shape[:-2] != (3, 3) or min(w.shape[-2:]) < MIN_CHANNELS:
        return False
    return MIN_SAVING * 16 * _squares(convolution.out) <= 9 * math.prod(convolution.out)


def _bytes_per_row(x: Array, w: Array, convolution: Convolution) -> int:
    return 16 * _squares(convolution.out) * sum(w.shape[-2:]) * w.dtype.itemsize


def _prepare(x: Array, w: Array, convolution: Convolution) -> tuple[Array, list[Array]]:
    """Pads x to whole squares, and returns it with the 16 sums [in, out] of the weights."""
    padding = [
        (low, high + o % 2)
        for (low, high), o in zip(convolution.padding, convolution.out, strict=True)
    ]
    x = pad_space(x, padding, (1, 1))
    return x, [both for one in _weights(w) for both in _weights(one)]


def _run(x: Array, weights: Sequence[Array], convolution: Convolution) -> Array:
    """Returns the convolution [rows, height, width, out] of x [rows, height + 2, width + 2, in]."""
    inputs = [both for one in _inputs(x, 1) for both in _inputs(one, 2)]
    # One product after the other: XLA's product of 16 at once is slower, and so is its gradient.
    parts = [convolution.product([a], b) for a, b in zip(inputs, weights, strict=True)]
    return _outputs([_outputs(parts[i : i + 4], 2) for i in range(0, 16, 4)], 1)


def _squares(out: Sequence[int]) -> int:
    """Returns how many squares of 2 x 2 outputs there are; those at an odd edge reach over it."""
    return math.prod(-(-size // 2) for size in out)


def _inputs(x: Array, axis: int) -> list[Array]:
    """Applies B' along an axis: four sums for every second place."""
    pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    even, odd = (half.squeeze(axis + 1) for half in lax.split(pairs, (1, 1), axis + 1))
    size = even.shape[axis]
    here = lambda half: lax.slice_in_dim(half, 0, size - 1, axis=axis)
    next_ = lambda half: lax.slice_in_dim(half, 1, size, axis=axis)
    x0, x1, x2, x3 = here(even), here(odd), next_(even), next_(odd)
    return [x0 - x2, x1 + x2, x2 - x1, x1 - x3]


def _weights(w: Array) -> list[Array]:
    """Applies G along the first axis."""
    return [w[0], (w[0] + w[1] + w[2]) / 2, (w[0] - w[1] + w[2]) / 2, w[2]]


def _outputs(parts: Sequence[Array], axis: int) -> Array:
    """Applies A' along an axis: two outputs from four sums."""
    a, b, c, d = parts
    pairs = jnp.stack([a + b + c, b - c - d], axis + 1)
    return pairs.reshape(*a.shape[:axis], -1, *a.shape[axis + 1 :])


ALGORITHM = Algorithm(_pays, _bytes_per_row, _run, Limits(2**25, 2**25), _prepare)
