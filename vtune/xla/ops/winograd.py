"""Convolutions with windows of 3 x 3, by fewer products: Winograd's minimal filtering.

A square of 2 x 2 outputs takes 36 products of its 4 x 4 inputs with the 9 weights. Sums of the
inputs, times sums of the weights, give the same from 16:

    outputs = A'[(G w G') * (B' x B)]A    with  B' x = x0 - x2, x1 + x2, x2 - x1, x1 - x3
                                                G w  = w0, (w0 + w1 + w2)/2, (w0 - w1 + w2)/2, w2
                                                A' m = m0 + m1 + m2, m1 - m2 - m3

Over channels each of the 16 is a matrix product. S. Winograd, Arithmetic Complexity of Computations
(1980), F(2 x 2, 3 x 3); A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks
(2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from vtune.types import Array

LEAST_CHANNELS = 32  # with fewer the sums take longer than the products that they save
LEAST_SAVED = 1.5  # times fewer products than the 9 of every output


def pays(out: Sequence[int], w: Array) -> bool:
    """Whether it is quicker than one product with whole patches.

    Args:
      out: places of the window, by axis. w: [*window, in, out].
    """
    if w.shape[:-2] != (3, 3) or min(w.shape[-2:]) < LEAST_CHANNELS:
        return False
    return LEAST_SAVED * 16 * _squares(out) <= 9 * math.prod(out)


def bytes_a_row(out: Sequence[int], w: Array) -> int:
    """What the 16 inputs and outputs of the products take for one row of the batch."""
    return 16 * _squares(out) * sum(w.shape[-2:]) * w.dtype.itemsize


def weight_sums(w: Array) -> list[Array]:
    """The 16 sums [in, out] of w [3, 3, in, out]."""
    return [both for one in _weights(w) for both in _weights(one)]


def convolve(x: Array, sums: Sequence[Array], product: Callable[[Array, Array], Array]) -> Array:
    """A convolution without padding of x [rows, height + 2, width + 2, in], both even.

    Args:
      sums: of the weights. product: of [rows, y, x, in] and [in, out].

    Returns:
      [rows, height, width, out].
    """
    inputs = [both for one in _inputs(x, 1) for both in _inputs(one, 2)]
    # One product after the other: XLA's product of 16 at once is slower, and so is its gradient.
    parts = [product(own, weight) for own, weight in zip(inputs, sums, strict=True)]
    return _outputs([_outputs(parts[i : i + 4], 2) for i in range(0, 16, 4)], 1)


def _squares(out: Sequence[int]) -> int:
    """Of 2 x 2 outputs; those at an odd edge reach over it."""
    return math.prod(-(-size // 2) for size in out)


def _inputs(x: Array, axis: int) -> list[Array]:
    """B' along an axis: four sums for every second place."""
    pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    even, odd = (half.squeeze(axis + 1) for half in lax.split(pairs, (1, 1), axis + 1))
    size = even.shape[axis]
    here = lambda half: lax.slice_in_dim(half, 0, size - 1, axis=axis)
    next_ = lambda half: lax.slice_in_dim(half, 1, size, axis=axis)
    x0, x1, x2, x3 = here(even), here(odd), next_(even), next_(odd)
    return [x0 - x2, x1 + x2, x2 - x1, x1 - x3]


def _weights(w: Array) -> list[Array]:
    """G along the first axis."""
    return [w[0], (w[0] + w[1] + w[2]) / 2, (w[0] - w[1] + w[2]) / 2, w[2]]


def _outputs(parts: Sequence[Array], axis: int) -> Array:
    """A' along an axis, whose places become two each."""
    a, b, c, d = parts
    pairs = jnp.stack([a + b + c, b - c - d], axis + 1)
    return pairs.reshape(*a.shape[:axis], -1, *a.shape[axis + 1 :])
