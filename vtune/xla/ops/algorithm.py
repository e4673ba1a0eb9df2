"""What an algorithm for convolutions is given, and what it must provide.

A new algorithm is a file with an `Algorithm`, which `convolution.ALGORITHMS` lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vtune.types import Array
from vtune.xla.ops.windows import Sizes, pad_space


class Convolution(NamedTuple):
    """The geometry of a convolution of x [rows, *space, in]; sizes are by axis of space.

    Attributes:
      sizes: of the padded input.
      out: of the output.
      window, stride: of the window, and of its moves.
      dilation: distance between neighbouring places of the window.
      padding: (before, after), may be negative.
      spread: distance between neighbouring points of the input, with zeros between them.
      product: (taps, weights [..., in, out]) -> the sum of all taps [rows, *out, in] times their
        weights.
      separable: whether the sum may be taken in parts: one group of channels, and no type of half
        precision, whose parts would be rounded.
      fewer_products: whether an algorithm may take fewer products and more sums.
    """

    sizes: Sizes
    out: Sizes
    window: Sizes
    stride: Sizes
    dilation: Sizes
    padding: Sequence[tuple[int, int]]
    spread: Sizes
    product: Callable[[list[Array], Array], Array]
    separable: bool
    fewer_products: bool


class Limits(NamedTuple):
    """Memory limits for an algorithm's temporary arrays.

    Up to `whole` bytes they are made at once and saved for the gradient. Above that they are made
    in pieces of `piece` bytes, and made again for the gradient.
    """

    whole: int
    piece: int


def pad(x: Array, w: Array, convolution: Convolution) -> tuple[Array, Array]:
    """Prepares a convolution that needs no more than the padded input."""
    return pad_space(x, convolution.padding, convolution.spread), w


class Algorithm(NamedTuple):
    """One way to compute a convolution of x [rows, *space, in] with w [*window, in, out].

    Attributes:
      pays: (x, w, convolution) -> whether it is applicable and faster than all later algorithms.
      bytes_per_row: (x, w, convolution) -> bytes of its temporary arrays for one row of x.
      run: (x, weights, convolution) -> [rows, *out, out channels], or more along space, which is
        cut off; of some rows of what `prepare` returned.
      limits: of all temporary arrays together.
      prepare: (x, w, convolution) -> (x, weights), done once for all rows.
    """

    pays: Callable[[Array, Array, Convolution], bool]
    bytes_per_row: Callable[[Array, Array, Convolution], int]
    run: Callable[[Array, Any, Convolution], Array]
    limits: Limits
    prepare: Callable[[Array, Array, Convolution], tuple[Array, Any]] = pad
