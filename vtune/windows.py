"""What convolution and pooling have in common: windows that move over an array.

Sizes are by axis: `window` places of an array, `dilation` apart, `stride` from one to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from vtune.types import Array

MAX_TAPS = 128  # more than an 11 x 11 window would make the program too long

Params = dict[str, Any]
Sizes = tuple[int, ...]


def places(sizes: Sequence[int], window: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """How often a window fits, by axis; below 1 where it does not."""
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    return tuple((s - r) // st + 1 for s, r, st in zip(sizes, reach, stride, strict=True))


def side_by_side(x: Array, out: Sizes, window: Sizes) -> tuple[Array, Sizes]:
    """x [..., out * window (and a rest, cut off), ...] as [..., out, window, ...], where the window
    is larger than 1, and the axes that are inside of windows."""
    shape: list[int] = []
    inside: list[int] = []
    for o, k in zip(out, window, strict=True):
        shape.append(o)
        if k > 1:
            inside.append(len(shape))
            shape.append(k)
    cut = x[tuple(slice(0, o * k) for o, k in zip(out, window, strict=True))]
    return cut.reshape(shape), tuple(inside)


def slices(x: Array, out: Sizes, window: Sizes, stride: Sizes, dilation: Sizes) -> Iterator[Array]:
    """By place in the window, the last axis fastest, what it meets of x: [*out]."""
    for place in itertools.product(*map(range, window)):
        start = [at * d for at, d in zip(place, dilation, strict=True)]
        limit = [s + (o - 1) * st + 1 for s, o, st in zip(start, out, stride, strict=True)]
        yield lax.slice(x, start, limit, stride)


def padded(x: Array, edges: Sequence[tuple[int, int, int]], fill: float) -> Array:
    """x with numbers before, after and between along each axis, as in `lax.pad`."""
    return x if not any(map(any, edges)) else lax.pad(x, jnp.asarray(fill, x.dtype), edges)
