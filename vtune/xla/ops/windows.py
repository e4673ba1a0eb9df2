"""What convolution and pooling have in common: windows that move over an array.

Sizes are by axis: `window` places of an array, `dilation` apart, `stride` from one to the next.
"""

from __future__ import annotations

import itertools
import math
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
    """By place in the window, the last axis fastest, what it meets of x: [*out].

    Where windows meet most of x, every `stride`-th number is not sliced out but split off once: the
    gradient of such a slice puts its numbers apart again, one at a time, and that of a split joins.
    """
    apart = [
        s if s <= k and math.gcd(s, d) == 1 else 1
        for s, k, d in zip(stride, window, dilation, strict=True)
    ]
    parts = _apart(x, apart)
    for place in itertools.product(*map(range, window)):
        at = [p * d for p, d in zip(place, dilation, strict=True)]
        part = parts[tuple(a % s for a, s in zip(at, apart, strict=True))]
        start = [a // s for a, s in zip(at, apart, strict=True)]
        step = [st // s for st, s in zip(stride, apart, strict=True)]
        limit = [a + (o - 1) * st + 1 for a, o, st in zip(start, out, step, strict=True)]
        yield lax.slice(part, start, limit, step)


def _apart(x: Array, stride: Sequence[int]) -> dict[Sizes, Array]:
    """Every `stride`-th number of x along each axis, by where along the axes one begins."""
    parts: dict[Sizes, Array] = {(): x}
    for axis, s in enumerate(stride):
        if s == 1:
            parts = {(*begin, 0): part for begin, part in parts.items()}
            continue
        fill = [(0, -x.shape[axis] % s if a == axis else 0, 0) for a in range(x.ndim)]
        split: dict[Sizes, Array] = {}
        for begin, part in parts.items():
            part = padded(part, fill, 0)
            shape = (*part.shape[:axis], -1, s, *part.shape[axis + 1 :])
            own = lax.split(part.reshape(shape), (1,) * s, axis + 1)
            split |= {(*begin, i): every.squeeze(axis + 1) for i, every in enumerate(own)}
        parts = split
    return parts


def padded(x: Array, edges: Sequence[tuple[int, int, int]], fill: float) -> Array:
    """x with numbers before, after and between along each axis, as in `lax.pad`."""
    return x if not any(map(any, edges)) else lax.pad(x, jnp.asarray(fill, x.dtype), edges)
