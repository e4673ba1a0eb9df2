"""Convolution by shift-and-add: patches along all axes of the window but the last.

A *strip* holds the taps of the window without its last axis. One product of the strip with all
weights gives a part for every place along the last axis; shifted parts are added up:

    y[..., j] = sum over i of (strip[..., j + i] times w[..., i])

For a window of 3 x 3 the strips are 3 times as large as the input and the parts 3 times as large as
the output, where full patches are 9 times as large as the input.
"""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
from jax import lax

from vtune.types import Array
from vtune.xla.ops.algorithm import Algorithm, Convolution, Limits
from vtune.xla.ops.windows import taps

MIN_SAVING = 1.5  # times fewer numbers than in full patches
MAX_WIDTH = 1.25  # padded width over output width; parts of places beyond the output are wasted


def _pays(x: Array, w: Array, convolution: Convolution) -> bool:
    *window, inner, _ = w.shape
    fewer = MIN_SAVING * _numbers_per_place(w) <= math.prod(window) * inner
    narrow = convolution.sizes[-1] <= MAX_WIDTH * convolution.out[-1]
    return convolution.separable and convolution.stride[-1] == 1 and narrow and fewer


def _bytes_per_row(x: Array, w: Array, convolution: Convolution) -> int:
    places = math.prod(convolution.out[:-1]) * convolution.sizes[-1]
    return places * _numbers_per_place(w) * w.dtype.itemsize


def _run(x: Array, w: Array, convolution: Convolution) -> Array:
    *window, last, inner, outer = w.shape
    out, dilation = convolution.out, convolution.dilation
    sizes, line = (*out[:-1], x.shape[-2]), (*window, 1)
    strip = list(taps(x, sizes, line, convolution.stride, dilation))
    weights = jnp.moveaxis(w, -3, -2).reshape(*window, inner, last * outer)
    parts = convolution.product(strip, weights)
    axis = parts.ndim - 2
    shifted = [
        lax.slice_in_dim(part, i * dilation[-1], i * dilation[-1] + out[-1], axis=axis)
        for i, part in enumerate(lax.split(parts, (outer,) * last, axis + 1))
    ]
    return functools.reduce(jnp.add, shifted)


def _numbers_per_place(w: Array) -> int:
    """Returns how many numbers the strip and the parts hold for one place."""
    *window, last, inner, outer = w.shape
    return math.prod(window) * inner + last * outer


ALGORITHM = Algorithm(_pays, _bytes_per_row, _run, Limits(2**24, 2**21))
