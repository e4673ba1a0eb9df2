"""The second product of an adapter, (x A) B, whose gradient by B turns the small side."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.types import Array


class Sides(NamedTuple):
    """How the two operands meet.

    Attributes:
      alone: the axes of `second` that each have a product of their own, in the order in which
        `low` begins with them.
      low_is_left: whether the rows of `low` come before the axes of `second` in the product.
      precision, preferred_element_type: as in `lax.dot_general`.
    """

    alone: tuple[int, ...]
    low_is_left: bool
    precision: Any = None
    preferred_element_type: Any = None

    def product(self, left: Array, right: Array, summed: Any, alone: Any) -> Array:
        return lax.dot_general(
            left,
            right,
            (summed, alone),
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
        )


def second_product(sides: Sides, low: Array, second: Array) -> Array:
    """Returns the product of `low` [*alone, *rows, rank] and `second` [..., rank] over the rank,
    [*alone, *rows, *others], or with the others first.

    The gradient by `second` sums over rows. JAX writes it as (gradient)^T (x A), and a CPU turns a
    left side that is summed over its first axis: all that flows back would be turned, and whatever
    made it computed column by column. As (x A)^T (gradient) it turns `low`, whose rank is small.
    It has no forward-mode derivative.
    """
    dtype = jnp.result_type(low, second)
    return _product(sides, low.astype(dtype), second.astype(dtype))


def _plain(sides: Sides, low: Array, second: Array) -> Array:
    begins = tuple(range(len(sides.alone)))
    one = (low, low.ndim - 1, begins), (second, second.ndim - 1, sides.alone)
    (left, i, b), (right, j, c) = one if sides.low_is_left else one[::-1]
    return sides.product(left, right, ((i,), (j,)), (b, c))


def _forward(sides: Sides, low: Array, second: Array) -> tuple[Array, tuple[Array, Array]]:
    return _plain(sides, low, second), (low, second)


def _backward(sides: Sides, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    low, second = kept
    [by_low] = jax.linear_transpose(lambda low: _plain(sides, low, second), low)(gradient)
    count = len(sides.alone)
    begins, rows = tuple(range(count)), tuple(range(count, low.ndim - 1))
    first = count if sides.low_is_left else gradient.ndim - len(rows)
    theirs = tuple(range(first, first + len(rows)))
    made = sides.product(low, gradient, (rows, theirs), (begins, begins))  # [*alone, rank, *others]
    others = [axis for axis in range(second.ndim - 1) if axis not in sides.alone]
    places = (*sides.alone, second.ndim - 1, *others)
    return by_low, jnp.moveaxis(made, range(second.ndim), places).astype(second.dtype)


_product = jax.custom_vjp(_plain, nondiff_argnums=(0,))
_product.defvjp(_forward, _backward)
