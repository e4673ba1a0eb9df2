"""Distributions inside the program: their numbers are arrays, so other bounds compile nothing.

This is what a refiner gets as `space`, with what it can do with it: `snap`, `from_unit`, `to_unit`,
`from_scale` and `neighbour`. All of them take and return values [pop].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vtune.space.distributions import Float, Int, Ordinal, Traced
from vtune.types import Array, float_dtype


def program_space(traced: Mapping[str, Traced]) -> dict[str, Traced]:
    """Returns the distributions with their numbers as arrays of the program's dtype.

    Bounds are rounded inward.
    """
    return {name: _as_arrays(distribution) for name, distribution in traced.items()}


def snap(distribution: Any, values: Array) -> Array:
    """Returns the nearest values of the distribution, in its own dtype."""
    if isinstance(distribution, Ordinal):
        return _value_at(distribution, _nearest(distribution, values))
    dtype = jnp.asarray(distribution.low).dtype
    if jnp.issubdtype(dtype, jnp.integer) and jnp.issubdtype(values.dtype, jnp.floating):
        values = jnp.round(values)
    values = values.astype(dtype)
    if distribution.step is None:
        return jnp.clip(values, distribution.low, distribution.high)
    return _value_at(distribution, _nearest(distribution, values))


def from_unit(distribution: Any, u: Array) -> Array:
    """Maps uniform `u` in [0, 1) to values, as `Distribution.from_unit` does on the host."""
    if isinstance(distribution, Ordinal):
        return _value_at(distribution, _index(u, _last_index(distribution) + 1))
    low, high, step = distribution.low, distribution.high, distribution.step
    dtype = jnp.asarray(low).dtype
    if isinstance(distribution, Int) and distribution.log:
        a, b = jnp.log(low - 0.5), jnp.log(high + 0.5)  # half a unit on either side
        return jnp.clip(jnp.round(jnp.exp(a + u * (b - a))), low, high).astype(dtype)
    if step is not None:
        return _value_at(distribution, _index(u, _last_index(distribution) + 1))
    if distribution.log:
        values = jnp.exp(jnp.log(low) + u * (jnp.log(high) - jnp.log(low)))
    else:
        values = low + u * (high - low)
    return jnp.clip(values.astype(dtype), low, high)


def to_unit(distribution: Any, values: Array) -> Array:
    """Maps values to their position on the distribution's scale, from 0 at the low end to 1.

    The position is 0 where the distribution has one value only.
    """
    if isinstance(distribution, Ordinal):
        return _ratio(_nearest(distribution, values), jnp.asarray(_last_index(distribution)))
    low, high = distribution.low, distribution.high
    if jnp.issubdtype(values.dtype, jnp.integer):  # differences of large ones overflow
        low, high, values = (jnp.asarray(v, float_dtype()) for v in (low, high, values))
    if distribution.log:
        return _ratio(jnp.log(values / low), jnp.log(high / low))
    return _ratio(values - low, high - low)


def from_scale(distribution: Any, position: Array) -> Array:
    """Returns the values nearest to positions on the distribution's scale: inverts `to_unit`.

    Positions below 0 and above 1 give the ends.
    """
    position = jnp.clip(position, 0, 1)
    if isinstance(distribution, Ordinal):
        index = jnp.round(position * _last_index(distribution))
        return _value_at(distribution, index.astype(jnp.int32))
    low, high = (jnp.asarray(v, float_dtype()) for v in (distribution.low, distribution.high))
    if distribution.log:
        values = low * jnp.exp(position * jnp.log(high / low))
    else:
        values = low + position * (high - low)
    if distribution.step is None:
        return snap(distribution, values)
    return _value_at(distribution, _nearest(distribution, values))  # of a number, rounded once


def neighbour(distribution: Any, values: Array, up: Array) -> Array:
    """Returns the next larger value where `up` [pop], else the next smaller; the ends stay.

    Only for distributions of discrete values: `Int`, `Ordinal` and a `Float` with steps.
    """
    index = _nearest(distribution, values) + jnp.where(up, 1, -1)
    return _value_at(distribution, jnp.clip(index, 0, _last_index(distribution)))


def is_stepped(distribution: Any) -> bool:
    """Whether a distribution has discrete values instead of a continuous range."""
    return isinstance(distribution, Ordinal) or distribution.step is not None


def _nearest(distribution: Any, values: Array) -> Array:
    """Returns the index of the nearest discrete value."""
    if isinstance(distribution, Ordinal):
        choices = jnp.asarray(distribution.values)
        return jnp.argmin(jnp.abs(values[:, None] - choices[None, :]), axis=1)
    low, high, step = distribution.low, distribution.high, distribution.step
    if jnp.issubdtype(values.dtype, jnp.integer):  # exact, where float32 ends at 2**24
        above = jnp.clip(values, low, high) - low
        nearer = above % step >= step - step // 2
        return jnp.minimum(above // step + nearer, _last_index(distribution))
    index = jnp.round((values - low) / step)
    return jnp.clip(index, 0, _last_index(distribution)).astype(jnp.int32)


def _last_index(distribution: Any) -> Any:
    """Returns the index of the last discrete value."""
    if isinstance(distribution, Ordinal):
        return len(distribution.values) - 1
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, Int):
        return (high - low) // step
    return jnp.round((high - low) / step).astype(jnp.int32)  # `high` is one of the values


def _value_at(distribution: Any, index: Array) -> Array:
    """Returns the discrete values at these indices."""
    if isinstance(distribution, Ordinal):
        return jnp.asarray(distribution.values)[index]
    low = jnp.asarray(distribution.low)
    values = (low + index * distribution.step).astype(low.dtype)
    return jnp.clip(values, distribution.low, distribution.high)


def _index(u: Array, count: Any) -> Array:
    return jnp.minimum((u * count).astype(jnp.int32), count - 1)


def _ratio(part: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0.0)


def _as_arrays(distribution: Traced) -> Traced:
    if isinstance(distribution, Ordinal):
        return _unchecked(Ordinal, {"values": distribution.grid(None)}, {})
    step, high = distribution.step, distribution.high
    if step is not None and distribution.count is not None:  # the last value on the steps
        high = distribution.report(distribution.low + (distribution.count - 1) * step)
    low, high = distribution.cast([distribution.low, high])
    if step is not None:
        step = low.dtype.type(step)
    numbers = {"low": low, "high": high, "step": step}
    return _unchecked(type(distribution), numbers, {"log": distribution.log})


def _unchecked(kind: Any, numbers: dict[str, Any], static: dict[str, Any]) -> Any:
    """Makes a distribution without its checks: inside the program the numbers are traced."""
    distribution = object.__new__(kind)
    for name, value in {**numbers, **static}.items():
        object.__setattr__(distribution, name, value)
    return distribution


def _register(kind: Any, numbers: tuple[str, ...], static: tuple[str, ...]) -> None:
    """Registers a distribution as a pytree whose leaves are its numbers."""
    jax.tree_util.register_pytree_node(
        kind,
        lambda d: (tuple(getattr(d, n) for n in numbers), tuple(getattr(d, n) for n in static)),
        lambda aux, leaves: _unchecked(
            kind, dict(zip(numbers, leaves, strict=True)), dict(zip(static, aux, strict=True))
        ),
    )


_register(Float, ("low", "high", "step"), ("log",))
_register(Int, ("low", "high", "step"), ("log",))
_register(Ordinal, ("values",), ())
