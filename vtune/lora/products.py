"""Where a weight is used: what a product sums over, and the same product of its adapter.

    x W  ->  x W + (dropout(x) A) B

The scale is in B already. A lookup is a product with rows of an identity matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from vtune.lora.second_product import Sides, second_product
from vtune.lora.tagged import Tagged, long_axes, with_axes
from vtune.types import Array


class Use(NamedTuple):
    """A use of a weight, in the axes of its present layout.

    Attributes:
      summed: those that the product sums over, or that an index goes along.
      alone: those that each have a product of their own.
      added: (x, first, second) -> what the adapter adds to the product. `first` is the factor
        [*(summed and alone), rank], `second` [*all but summed, rank].
      lookup: whether it is a table that is read by whole numbers.
    """

    summed: tuple[int, ...]
    alone: tuple[int, ...]
    added: Callable[[Array, Array, Array], Array]
    lookup: bool = False


def added_to(tagged: Tagged, use: Use, x: Array) -> Array:
    """Returns what a weight's adapter adds to a product.

    Args:
      x: what the weight is multiplied with, or the indices.
    """
    kept = [axis for axis in range(len(tagged.value.shape)) if axis not in use.summed]
    first_axes = sorted((*use.summed, *use.alone))
    for first, second in (tagged.factors, tagged.factors[::-1]):
        a, b = with_axes(tagged, first, first_axes), with_axes(tagged, second, kept)
        if a is not None and b is not None:
            return use.added(x, a, b)
    raise AssertionError(f"{tagged.name}: {long_axes(tagged, first_axes)} is no factor")


def _dot(tagged: Tagged, place: int, params: Any) -> Use:
    """Of `lax.dot_general`, in which the weight is the operand of this place."""
    summed, alone = ([tuple(axes) for axes in pair] for pair in params["dimension_numbers"])
    other = 1 - place
    options = {name: params[name] for name in ("precision", "preferred_element_type")}

    def added(x: Array, first: Array, second: Array) -> Array:
        axes = sorted((*summed[place], *alone[place]))
        where = lambda wanted: tuple(axes.index(axis) for axis in wanted)
        dims = (
            (summed[other], where(summed[place])),
            (alone[other], where(alone[place])),
        )
        low = lax.dot_general(x, first, dims, **options)  # [*alone, *rows, rank]
        kept = [axis for axis in range(len(tagged.value.shape)) if axis not in summed[place]]
        ours = tuple(kept.index(axis) for axis in alone[place])
        return second_product(Sides(ours, place == 1, **options), low, second)

    return Use(summed[place], alone[place], added)


def _convolution(tagged: Tagged, place: int, params: Any) -> Use | None:
    """Of `lax.conv_general_dilated`: A has the window, B mixes channels alone."""
    if place != 1 or params["feature_group_count"] != 1 or params["batch_group_count"] != 1:
        return None
    dims = params["dimension_numbers"]
    out, features = dims.rhs_spec[0], dims.out_spec[1]
    names = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers")
    options = {name: params[name] for name in (*names, "precision", "preferred_element_type")}

    def added(x: Array, first: Array, second: Array) -> Array:
        low = lax.conv_general_dilated(x, jnp.moveaxis(first, -1, out), **options)
        sides = Sides((), True, params["precision"])
        made = second_product(sides, jnp.moveaxis(low, features, -1), second.astype(low.dtype))
        return jnp.moveaxis(made, -1, features)

    return Use(tuple(a for a in range(len(tagged.value.shape)) if a != out), (), added)


def _lookup(tagged: Tagged, place: int, params: Any) -> Use | None:
    """Of `lax.gather` that takes whole entries along one axis: rows of A are looked up."""
    dims = params["dimension_numbers"]
    axes, shape = tuple(dims.start_index_map), tagged.value.shape
    whole = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    if (
        place != 0
        or len(axes) != 1
        or tuple(dims.collapsed_slice_dims) != axes
        or tuple(dims.operand_batching_dims)
        or tuple(params["slice_sizes"]) != whole
    ):
        return None

    def added(indices: Array, first: Array, second: Array) -> Array:
        rows = indices.ndim - 1
        low = lax.gather(
            first,
            indices,
            lax.GatherDimensionNumbers((rows,), (0,), (0,)),
            (1, first.shape[-1]),
            unique_indices=params["unique_indices"],
            indices_are_sorted=params["indices_are_sorted"],
            mode=params["mode"],
            fill_value=params["fill_value"],
        )
        made = second_product(Sides((), True), low, second)
        return jnp.moveaxis(made, range(rows, made.ndim), dims.offset_dims)

    return Use(axes, (), added, lookup=True)


USES: dict[str, Callable[[Tagged, int, Any], Use | None]] = {
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "gather": _lookup,
}
"""By primitive: (weight, which operand it is, parameters) -> its use; None for one that an adapter
cannot take part in."""


def used_axes(tagged: Tagged, use: Use) -> tuple[frozenset[int], ...] | None:
    """Returns the axes of the weight, as the model holds it, that (have products alone, are summed
    over, are kept); None where the layout mixes these."""
    found = [tagged.stack, frozenset[int](), frozenset[int]()]
    kinds: Sequence[set[int]] = (set(use.alone), set(use.summed))
    for factor in tagged.factors:
        places = {
            next((i for i, axes in enumerate(kinds) if axis in axes), 2) for axis in factor.axes
        }
        if len(places) > 1:
            return None
        for place in places:
            found[place] |= factor.origin
    return tuple(found)
