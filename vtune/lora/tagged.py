"""A weight with its adapter, in whatever layout the model brings it into before it is used.

The adapter is two factors, each an array over some of the weight's axes and the rank: their product
over the rank is what is added to the weight. A change of layout changes both likewise. Where the
uses of a weight are only looked for, every axis is a factor of its own, without an array.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.types import Array


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["array"], meta_fields=["axes", "origin"]
)
@dataclass(frozen=True)
class Factor:
    """One factor of what is added to a weight.

    Attributes:
      array: [*axes, rank]; None while uses are looked for.
      axes: those of the weight's present layout that the factor has, in order. One with an array
        has none of length 1, since both factors have these.
      origin: the axes of the weight, as the model holds it, that they are made of.
    """

    array: Any
    axes: tuple[int, ...]
    origin: frozenset[int] = frozenset()


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["value", "factors"],
    meta_fields=["name", "stack"],
)
@dataclass(frozen=True)
class Tagged:
    """A weight that is followed through the model.

    Attributes:
      value: its array, or the array's shape and type while uses are looked for.
      factors: of what is added to it. name: its path, joined by slashes.
      stack: axes of the weight that loops around have taken away.
    """

    value: Any
    factors: tuple[Factor, ...]
    name: str
    stack: frozenset[int] = frozenset()

    def length(self, axis: int) -> int:
        return int(self.value.shape[axis])


def looked_for(name: str, shape: Any) -> Tagged:
    """Returns a weight whose uses are to be found."""
    axes = range(len(shape.shape))
    return Tagged(shape, tuple(Factor(None, (i,), frozenset({i})) for i in axes), name)


def long_axes(tagged: Tagged, axes: Sequence[int]) -> tuple[int, ...]:
    """Returns those that are longer than 1, in order."""
    return tuple(axis for axis in sorted(axes) if tagged.length(axis) != 1)


def with_axes(tagged: Tagged, factor: Factor, axes: Sequence[int]) -> Array | None:
    """Returns a factor's array [*axes, rank] with axes of length 1 too, in the weight's type; None
    where its other axes are not these."""
    if factor.axes != long_axes(tagged, axes):
        return None
    sizes = [tagged.length(axis) for axis in sorted(axes)]
    return factor.array.reshape(*sizes, factor.array.shape[-1]).astype(tagged.value.dtype)


# changes of layout ------------------------------------------------------------------------------


def _renumbered(tagged: Tagged, value: Any, now: Mapping[int, int]) -> Tagged:
    """Returns a weight whose axis i has become axis `now[i]`; others have gone."""

    def change(factor: Factor) -> Factor:
        kept = [axis for axis in factor.axes if axis in now]
        order = sorted(range(len(kept)), key=lambda place: now[kept[place]])
        array = factor.array
        if array is not None:
            array = jnp.transpose(array, (*order, len(order)))
        return replace(factor, array=array, axes=tuple(now[kept[place]] for place in order))

    return replace(tagged, value=value, factors=tuple(map(change, tagged.factors)))


def _transpose(tagged: Tagged, value: Any, params: Any) -> Tagged:
    return _renumbered(tagged, value, {old: new for new, old in enumerate(params["permutation"])})


def _squeeze(tagged: Tagged, value: Any, params: Any) -> Tagged:
    kept = [axis for axis in range(len(tagged.value.shape)) if axis not in params["dimensions"]]
    return _renumbered(tagged, value, {old: new for new, old in enumerate(kept)})


def _broadcast(tagged: Tagged, value: Any, params: Any) -> Tagged | None:
    if math.prod(value.shape) != math.prod(tagged.value.shape):
        return None  # entries are repeated
    return _renumbered(tagged, value, dict(enumerate(params["broadcast_dimensions"])))


def _reshape(tagged: Tagged, value: Any, params: Any) -> Tagged | None:
    """Axes are merged or split: within one factor, or the factors become one while uses are looked
    for."""
    if params["dimensions"] is not None:
        return None
    factors = tagged.factors
    moved: dict[int, int] = {}
    made: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for before, after in _groups(tagged.value.shape, value.shape):
        if len(before) == len(after) == 1:
            moved[before[0]] = after[0]
        else:
            made.append((before, after))
    for before, _ in made:
        touching = [factor for factor in factors if set(factor.axes) & set(before)]
        if touching and touching[0].array is None:
            axes = itertools.chain.from_iterable(factor.axes for factor in touching)
            origin = frozenset[int]().union(*(factor.origin for factor in touching))
            rest = tuple(factor for factor in factors if factor not in touching)
            factors = (*rest, Factor(None, tuple(sorted(axes)), origin))
        elif any(not set(before) <= set(factor.axes) for factor in touching):
            return None

    def change(factor: Factor) -> Factor:
        axes = [moved[axis] for axis in factor.axes if axis in moved]
        for before, after in made:
            axes += after if set(before) & set(factor.axes) else ()
        axes.sort()
        array = factor.array
        if array is not None:
            array = array.reshape(*(value.shape[axis] for axis in axes), array.shape[-1])
        return replace(factor, array=array, axes=tuple(axes))

    return replace(tagged, value=value, factors=tuple(map(change, factors)))


def _groups(
    before: Sequence[int], after: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Returns the smallest groups of neighbouring axes that a reshape makes of one another, without
    axes of length 1."""
    old = [axis for axis, size in enumerate(before) if size != 1]
    new = [axis for axis, size in enumerate(after) if size != 1]
    groups = []
    while old:
        left, right = [old.pop(0)], [new.pop(0)]
        ahead = before[left[0]], after[right[0]]  # the entries of both
        while ahead[0] != ahead[1]:
            if ahead[0] < ahead[1]:
                left.append(old.pop(0))
                ahead = ahead[0] * before[left[-1]], ahead[1]
            else:
                right.append(new.pop(0))
                ahead = ahead[0], ahead[1] * after[right[-1]]
        groups.append((tuple(left), tuple(right)))
    return groups


def _each(tagged: Tagged, value: Any, change: Callable[[Factor], Array]) -> Tagged:
    """Returns a weight whose factors have other arrays, without axes that have become of length 1.

    Args:
      change: a factor -> its array [*axes, rank].
    """

    def changed(factor: Factor) -> Factor:
        if factor.array is None:
            return factor
        axes = tuple(axis for axis in factor.axes if value.shape[axis] != 1)
        array = change(factor)
        sizes = [value.shape[axis] for axis in axes]
        return replace(factor, array=array.reshape(*sizes, array.shape[-1]), axes=axes)

    return replace(tagged, value=value, factors=tuple(map(changed, tagged.factors)))


def _reversed(tagged: Tagged, value: Any, params: Any) -> Tagged:
    turned = lambda factor: [i for i, a in enumerate(factor.axes) if a in params["dimensions"]]
    return _each(tagged, value, lambda factor: lax.rev(factor.array, turned(factor)))


def _sliced(tagged: Tagged, value: Any, params: Any) -> Tagged:
    steps = params["strides"] or (1,) * len(value.shape)
    parts = [*map(slice, params["start_indices"], params["limit_indices"], steps)]
    return _each(
        tagged, value, lambda factor: factor.array[tuple(parts[axis] for axis in factor.axes)]
    )


def _same(tagged: Tagged, value: Any, params: Any) -> Tagged:
    return replace(tagged, value=value)


def _cast(tagged: Tagged, value: Any, params: Any) -> Tagged | None:
    return _same(tagged, value, params) if jnp.issubdtype(value.dtype, jnp.floating) else None


def _stopped(tagged: Tagged, value: Any, params: Any) -> Tagged:
    return _each(tagged, value, lambda factor: lax.stop_gradient(factor.array))


LAYOUTS: dict[str, Callable[[Tagged, Any, Any], Tagged | None]] = {
    "transpose": _transpose,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "rev": _reversed,
    "slice": _sliced,
    "convert_element_type": _cast,
    "stop_gradient": _stopped,
    **dict.fromkeys(("copy", "copy_p", "name", "sharding_constraint"), _same),
}
"""By primitive: (weight, its array in the new layout, parameters) -> the weight; None where its
adapter cannot follow."""


# loops over stacked weights ---------------------------------------------------------------------


def stacked(tagged: Tagged) -> Tagged | None:
    """Returns a weight as `lax.scan` takes it apart along its first axis, which arrays of factors
    then have too; None where its adapter has that axis mixed with others."""
    first = lambda factor: 0 in factor.axes
    if tagged.factors[0].array is None:
        pure = all(factor.axes == (0,) for factor in filter(first, tagged.factors))
        return tagged if pure else None
    if tagged.length(0) != 1:
        return tagged if all(map(first, tagged.factors)) else None
    lead = lambda factor: replace(factor, array=factor.array[None])
    return replace(tagged, factors=tuple(map(lead, tagged.factors)))


def taken(tagged: Tagged, value: Any) -> Tagged:
    """Returns one turn's part of a weight that `stacked` gave.

    Args:
      value: that part. Arrays of factors are those of the turn already.
    """
    gone, factors = tagged.stack, []
    for factor in tagged.factors:
        if factor.array is None and factor.axes == (0,):
            gone |= factor.origin
        else:
            axes = tuple(axis - 1 for axis in factor.axes if axis)
            factors.append(replace(factor, axes=axes))
    return replace(tagged, value=value, factors=tuple(factors), stack=gone)
