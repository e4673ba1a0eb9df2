"""Convolutions whose windows are joined along all axes but the last, in shift_add.

One product makes the parts of every place in the strip, side by side; shifted, they are summed:

    y[..., j] = sum over i of (strip[..., j + i] times w[..., i])

For a window of 3 x 3 the strips are 3 times as large as the input and the parts 3 times as large as
the output, where patches are 9 times as large as the input.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from vtune.types import Array

LEAST_SAVED = 1.5  # times fewer numbers than in patches
MOST_WIDTH = 1.25  # times the places of the window: parts beyond them are made in vain


def pays(width: int, places: int, w: Array, stride: Sequence[int]) -> bool:
    """Whether it is quicker than whole patches, for w [*window, in, out].

    Args:
      width: of the padded input along the last axis. places: of the window along it.
    """
    *window, inner, _ = w.shape
    fewer = LEAST_SAVED * _numbers(w) <= math.prod(window) * inner
    return stride[-1] == 1 and width <= MOST_WIDTH * places and fewer


def bytes_a_row(width: int, out: Sequence[int], w: Array) -> int:
    """What strips and parts take for one row of the batch, `width` wide."""
    return math.prod(out[:-1]) * width * _numbers(w) * w.dtype.itemsize


def convolve(
    taps: list[Array],
    w: Array,
    places: int,
    apart: int,
    product: Callable[[list[Array], Array], Array],
) -> Array:
    """The convolution of strips [rows, ..., width, in] with w [*window, in, out].

    Args:
      taps: the strips, by place in the window without its last axis. places: of the window along
        the last axis. apart: its dilation there. product: the sum of taps times their weights.
    """
    *window, last, inner, outer = w.shape
    beside = jnp.moveaxis(w, -3, -2).reshape(*window, inner, last * outer)
    parts = product(taps, beside)
    axis = parts.ndim - 2
    shifted = [
        lax.slice_in_dim(part, i * apart, i * apart + places, axis=axis)
        for i, part in enumerate(lax.split(parts, (outer,) * last, axis + 1))
    ]
    return functools.reduce(jnp.add, shifted)


def _numbers(w: Array) -> int:
    """In the strips and parts, by place."""
    *window, last, inner, outer = w.shape
    return math.prod(window) * inner + last * outer
