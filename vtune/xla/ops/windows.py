"""Windows that move over an array: what convolution and pooling have in common.

All sizes are tuples with an entry for each axis. A *tap* is one place in the window: the strided
slice of the array that this place meets as the window moves.
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


def output_sizes(sizes: Sequence[int], window: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """Returns how often a window fits along each axis; below 1 where it does not."""
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    return tuple((s - r) // st + 1 for s, r, st in zip(sizes, reach, stride, strict=True))


def split_windows(x: Array, out: Sizes, window: Sizes) -> tuple[Array, Sizes]:
    """Splits adjacent windows off as axes of their own.

    Args:
      x: [..., out * window and a remainder, ...]; the remainder is cut off.

    Returns:
      x as [..., out, window, ...] with a window axis where the window is larger than 1, and the
      numbers of these window axes.
    """
    shape: list[int] = []
    window_axes: list[int] = []
    for o, k in zip(out, window, strict=True):
        shape.append(o)
        if k > 1:
            window_axes.append(len(shape))
            shape.append(k)
    cut = x[tuple(slice(0, o * k) for o, k in zip(out, window, strict=True))]
    return cut.reshape(shape), tuple(window_axes)


def slices(x: Array, out: Sizes, window: Sizes, stride: Sizes, dilation: Sizes) -> Iterator[Array]:
    """Yields the taps of x, each [*out], by place in the window, the last axis fastest.

    Where windows overlap or touch, x is split into its strided subarrays once and the taps are
    dense slices of these: the gradient of a strided slice scatters one number at a time, that of a
    split is a concatenation.
    """
    split = [
        s if s <= k and math.gcd(s, d) == 1 else 1
        for s, k, d in zip(stride, window, dilation, strict=True)
    ]
    parts = _strided_parts(x, split)
    for place in itertools.product(*map(range, window)):
        first = [p * d for p, d in zip(place, dilation, strict=True)]
        part = parts[tuple(a % s for a, s in zip(first, split, strict=True))]
        start = [a // s for a, s in zip(first, split, strict=True)]
        step = [st // s for st, s in zip(stride, split, strict=True)]
        limit = [a + (o - 1) * st + 1 for a, o, st in zip(start, out, step, strict=True)]
        yield lax.slice(part, start, limit, step)


def taps(x: Array, out: Sizes, window: Sizes, stride: Sizes, dilation: Sizes) -> Iterator[Array]:
    """Yields the taps [rows, *out, in] of x [rows, *space, in]; sizes are by axis of space."""
    rest = (1,) * (x.ndim - 1 - len(window))
    return slices(
        x,
        (x.shape[0], *out, *x.shape[1 + len(out) :]),
        (1, *window, *rest),
        (1, *stride, *rest),
        (1, *dilation, *rest),
    )


def padded(x: Array, edges: Sequence[tuple[int, int, int]], fill: float) -> Array:
    """Pads x before, after and between its numbers along each axis, as `lax.pad`."""
    return x if not any(map(any, edges)) else lax.pad(x, jnp.asarray(fill, x.dtype), edges)


def pad_space(x: Array, padding: Any, spread: Sizes) -> Array:
    """Pads the space of x [rows, *space, in] with zeros, `spread` - 1 of them between points."""
    edges = [(low, high, d - 1) for (low, high), d in zip(padding, spread, strict=True)]
    return padded(x, [(0, 0, 0), *edges, (0, 0, 0)], 0.0)


def _strided_parts(x: Array, stride: Sequence[int]) -> dict[Sizes, Array]:
    """Splits x into its strided subarrays (polyphase components), keyed by their offsets."""
    parts: dict[Sizes, Array] = {(): x}
    for axis, s in enumerate(stride):
        if s == 1:
            parts = {(*offsets, 0): part for offsets, part in parts.items()}
            continue
        fill = [(0, -x.shape[axis] % s if a == axis else 0, 0) for a in range(x.ndim)]
        split: dict[Sizes, Array] = {}
        for offsets, part in parts.items():
            part = padded(part, fill, 0)
            shape = (*part.shape[:axis], -1, s, *part.shape[axis + 1 :])
            phases = lax.split(part.reshape(shape), (1,) * s, axis + 1)
            split |= {(*offsets, i): phase.squeeze(axis + 1) for i, phase in enumerate(phases)}
        parts = split
    return parts
