"""Distributions inside the program: their numbers are arrays, so that other bounds compile nothing.

What a refiner sees as `space`, and what it can do with it: snap, from_unit, to_unit, neighbour.
All functions take values [pop] of the distribution's own type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vtune.space.distributions import Float, Int, Ordinal, Traced
from vtune.types import Array, float_dtype


def program_space(traced: Mapping[str, Traced]) -> dict[str, Traced]:
    """The same distributions with their numbers as arrays of the program's dtype, rounded
    inward."""
    return {name: _as_arrays(distribution) for name, distribution in traced.items()}


def snap(distribution: Any, values: Array) -> Array:
    """The nearest values that the distribution has, in its own type."""
    if isinstance(distribution, Ordinal):
        return jnp.asarray(distribution.values)[_place(distribution, values)]
    dtype = jnp.asarray(distribution.low).dtype
    if jnp.issubdtype(dtype, jnp.integer) and jnp.issubdtype(values.dtype, jnp.floating):
        values = jnp.round(values)
    values = values.astype(dtype)
    if distribution.step is None:
        return jnp.clip(values, distribution.low, distribution.high)
    return _nth(distribution, _place(distribution, values))


def from_unit(distribution: Any, u: Array) -> Array:
    """Values at `u` in [0, 1), as `Distribution.from_unit` draws them on the host."""
    if isinstance(distribution, Ordinal):
        choices = jnp.asarray(distribution.values)
        return choices[_index(u, choices.shape[0])]
    low, high, step = distribution.low, distribution.high, distribution.step
    dtype = jnp.asarray(low).dtype
    if isinstance(distribution, Int) and distribution.log:
        a, b = (
            jnp.log(low - 0.5),
            jnp.log(high + 0.5),
        )  # half a unit either side
        return jnp.clip(jnp.round(jnp.exp(a + u * (b - a))), low, high).astype(dtype)
    if step is not None:
        return _nth(distribution, _index(u, _last(distribution) + 1))
    if distribution.log:
        values = jnp.exp(jnp.log(low) + u * (jnp.log(high) - jnp.log(low)))
    else:
        values = low + u * (high - low)
    return jnp.clip(values.astype(dtype), low, high)


def to_unit(distribution: Any, values: Array) -> Array:
    """Where values lie on the distribution's own scale, from 0 at the low end to 1; 0 where
    there is one value only."""
    if isinstance(distribution, Ordinal):
        last = jnp.asarray(len(distribution.values) - 1)
        return _ratio(_place(distribution, values), last)
    low, high = distribution.low, distribution.high
    if jnp.issubdtype(values.dtype, jnp.integer):  # differences of large ones overflow
        low, high, values = (jnp.asarray(v, float_dtype()) for v in (low, high, values))
    if distribution.log:
        return _ratio(jnp.log(values / low), jnp.log(high / low))
    return _ratio(values - low, high - low)


def neighbour(distribution: Any, values: Array, up: Array) -> Array:
    """The next value upwards where `up` [pop], else the next downwards; the ends stay.

    For distributions of single values: `Int`, `Ordinal` and a `Float` with steps.
    """
    place = _place(distribution, values) + jnp.where(up, 1, -1)
    if isinstance(distribution, Ordinal):
        choices = jnp.asarray(distribution.values)
        return choices[jnp.clip(place, 0, choices.shape[0] - 1)]
    return _nth(distribution, jnp.clip(place, 0, _last(distribution)))


def is_stepped(distribution: Any) -> bool:
    """Whether a distribution has single values instead of a continuum."""
    return isinstance(distribution, Ordinal) or distribution.step is not None


def _place(distribution: Any, values: Array) -> Array:
    """The number, from 0, of the nearest of the distribution's single values."""
    if isinstance(distribution, Ordinal):
        choices = jnp.asarray(distribution.values)
        return jnp.argmin(jnp.abs(values[:, None] - choices[None, :]), axis=1)
    low, high, step = distribution.low, distribution.high, distribution.step
    if jnp.issubdtype(values.dtype, jnp.integer):  # exact, where float32 ends at 2**24
        above = jnp.clip(values, low, high) - low
        nearer = above % step >= step - step // 2
        return jnp.minimum(above // step + nearer, _last(distribution))
    place = jnp.round((values - low) / step)
    return jnp.clip(place, 0, _last(distribution)).astype(jnp.int32)


def _last(distribution: Any) -> Array:
    """The number of the last single value."""
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, Int):
        return (high - low) // step
    return jnp.round((high - low) / step).astype(jnp.int32)  # `high` is on the grid


def _nth(distribution: Any, place: Array) -> Array:
    low = jnp.asarray(distribution.low)
    values = (low + place * distribution.step).astype(low.dtype)
    return jnp.clip(values, distribution.low, distribution.high)


def _index(u: Array, count: Any) -> Array:
    return jnp.minimum((u * count).astype(jnp.int32), count - 1)


def _ratio(part: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0.0)


def _as_arrays(distribution: Traced) -> Traced:
    if isinstance(distribution, Ordinal):
        return _raw(Ordinal, {"values": distribution.grid(None)}, {})
    step, high = distribution.step, distribution.high
    if step is not None and distribution.count is not None:  # up to the last value there is
        high = distribution.report(distribution.low + (distribution.count - 1) * step)
    low, high = distribution.cast([distribution.low, high])
    if step is not None:
        step = low.dtype.type(step)
    return _raw(
        type(distribution), {"low": low, "high": high, "step": step}, {"log": distribution.log}
    )


def _raw(kind: Any, numbers: dict[str, Any], static: dict[str, Any]) -> Any:
    """A distribution from its parts, unchecked: inside the program the numbers are traced."""
    made = object.__new__(kind)
    for name, value in {**numbers, **static}.items():
        object.__setattr__(made, name, value)
    return made


def _register(kind: Any, numbers: tuple[str, ...], static: tuple[str, ...]) -> None:
    jax.tree_util.register_pytree_node(
        kind,
        lambda d: (tuple(getattr(d, n) for n in numbers), tuple(getattr(d, n) for n in static)),
        lambda aux, leaves: _raw(
            kind, dict(zip(numbers, leaves, strict=True)), dict(zip(static, aux, strict=True))
        ),
    )


_register(Float, ("low", "high", "step"), ("log",))
_register(Int, ("low", "high", "step"), ("log",))
_register(Ordinal, ("values",), ())
