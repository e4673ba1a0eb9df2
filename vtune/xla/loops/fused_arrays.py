"""Runs one member's equations for several members at once, weight matrices packed side by side.

An array that differs between members is a `MemberArray` in one of four layouts:

    STACKED     [members, *shape]
    FLAT        [members, size]        for narrow arrays, see flat.py
    PACKED      [n, members * m]       for matrices [n, m]
    TRANSPOSED  [n, members * m]       for matrices [m, n]

Arrays that all members share are held once, as they are. An equation without a rule for its layout
runs under vmap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.types import Array
from vtune.xla.jaxpr import Equation, bind, evaluate
from vtune.xla.loops.flat import ELEMENTWISE, is_narrow
from vtune.xla.loops.walk import CALLS, dimension_numbers

STACKED, FLAT, PACKED, TRANSPOSED = "stacked", "flat", "packed", "transposed"

_FORWARD = (((1,), (0,)), ((), ()))  # dimension numbers of [n, k] x [k, m]
_GRADIENT = (((0,), (0,)), ((), ()))  # of [k, n] x [k, m], the gradient by the weights


@dataclass(frozen=True, eq=False)
class MemberArray:
    """An array that differs between members; `shape` is that of one member's array."""

    array: Array
    shape: tuple[int, ...]
    layout: str = STACKED


def is_forward_product(equation: Equation, per_member: Sequence[bool]) -> bool:
    """Whether this is a product of shared rows by a weight matrix that differs between members."""
    return (
        is_shared_product(equation, per_member)
        and per_member[1]
        and dimension_numbers(equation) == _FORWARD
    )


def is_shared_product(equation: Equation, per_member: Sequence[bool]) -> bool:
    """Whether this is a product of a shared matrix and one that differs between members.

    Such are shared rows by weights, and the gradient by these weights, from either side.

    Args:
      per_member: for every input, whether it differs between members.
    """
    if equation.primitive.name != "dot_general" or sum(per_member) != 1:
        return False
    if any(atom.aval.ndim != 2 for atom in equation.invars):
        return False
    numbers = dimension_numbers(equation)
    return numbers == _GRADIENT or (numbers == _FORWARD and per_member[1])


class FusedInterpreter:
    """Runs equations for several members.

    Args:
      members: how many.
      carried: what one member carries from step to step, as shapes.
      weights: shapes of the matrices among it that are carried packed.
      columns: pairs of a batch's array [batch, ...] and the same numbers as [columns, batch].
    """

    def __init__(
        self,
        members: int,
        carried: Sequence[Any],
        weights: set[tuple[int, ...]],
        columns: Sequence[tuple[Array, Array]] = (),
    ):
        self._members = members
        self._weights = weights
        self._narrow = {like.shape for like in carried if is_narrow(like)} - weights
        # Maps id(array) to (array, its columns); holding the array keeps the id valid.
        self._columns = {id(pair[0]): pair for pair in columns}

    def to_carried(self, value: Any, like: Any) -> MemberArray:
        """Converts a value to the layout in which the loop carries arrays shaped like `like`."""
        floating = jnp.issubdtype(like.dtype, jnp.floating)
        if floating and like.shape in self._weights:
            return MemberArray(self._packed(value, like.shape), like.shape, PACKED)
        if floating and like.shape in self._narrow:
            return MemberArray(self._flat(value, like.shape), like.shape, FLAT)
        return MemberArray(self.stacked(value), like.shape)

    def stacked(self, value: Any) -> Array:
        """Converts a value of any layout to [members, *shape]."""
        if not isinstance(value, MemberArray):
            return jnp.broadcast_to(value, (self._members, *np.shape(value)))
        if value.layout == FLAT:
            return value.array.reshape(self._members, *value.shape)
        if value.layout in (PACKED, TRANSPOSED):
            n, m = value.shape if value.layout == PACKED else value.shape[::-1]
            split = value.array.reshape(n, self._members, m)
            return split.transpose((1, 0, 2) if value.layout == PACKED else (1, 2, 0))
        return value.array

    def run(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        """Runs one equation; its outputs are `MemberArray`s if any input is one."""
        name = equation.primitive.name
        if not any(isinstance(value, MemberArray) for value in ins):
            outs = bind(equation, ins)
            self._track_columns(equation, ins, outs)
            return outs
        if name in CALLS:
            return evaluate(equation.params[CALLS[name]], ins, self.run)
        rule = _RULES.get(name)
        out = None if rule is None else rule(self, equation, ins)
        return self._under_vmap(equation, ins) if out is None else [out]

    def _under_vmap(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        axes = tuple(0 if isinstance(value, MemberArray) else None for value in ins)
        arrays = [self.stacked(value) if isinstance(value, MemberArray) else value for value in ins]
        outs = jax.vmap(lambda *one: tuple(bind(equation, list(one))), in_axes=axes)(*arrays)
        variables = equation.outvars
        return [MemberArray(out, var.aval.shape) for out, var in zip(outs, variables, strict=True)]

    def _track_columns(self, equation: Equation, ins: list[Any], outs: Sequence[Any]) -> None:
        """Tracks the transposed copy of a batch through elementwise operations and reshapes."""
        name, shape = equation.primitive.name, np.shape(outs[0]) if outs else ()
        tracked = [value for value in ins if id(value) in self._columns]
        if len(tracked) != 1 or shape[:1] != tracked[0].shape[:1]:
            return
        (batch,) = tracked
        columns = self._columns[id(batch)][1]
        if name in ELEMENTWISE and all(value is batch or np.ndim(value) == 0 for value in ins):
            (columns,) = bind(equation, [columns if v is batch else v for v in ins])
        elif name not in ("reshape", "squeeze"):
            return
        self._columns[id(outs[0])] = outs[0], columns

    def _flat(self, value: Any, shape: tuple[int, ...]) -> Array:
        """Converts an array of this shape, or a scalar, to [members, size].

        A scalar that all members share stays a scalar.
        """
        if isinstance(value, MemberArray) and value.layout == FLAT:
            return value.array
        if not isinstance(value, MemberArray) and np.ndim(value) == 0:
            return value
        rows = self.stacked(value).reshape(self._members, math.prod(_shape(value)))
        return jnp.broadcast_to(rows, (self._members, math.prod(shape)))

    def _packed(self, value: Any, shape: tuple[int, ...]) -> Array:
        """Converts a matrix of this shape, or a scalar, to [n, members * m].

        A scalar that all members share stays a scalar.
        """
        n, m = shape
        if isinstance(value, MemberArray) and value.layout == PACKED and value.shape == shape:
            return value.array
        if not isinstance(value, MemberArray) and np.ndim(value) == 0:
            return value
        if not isinstance(value, MemberArray):
            rows = jnp.tile(value, (1, self._members))
        elif value.shape == ():
            rows = jnp.repeat(value.array, m)[None]
        else:
            rows = self.stacked(value).transpose(1, 0, 2).reshape(n, self._members * m)
        return jnp.broadcast_to(rows, (n, self._members * m))

    def _elementwise(self, equation: Equation, ins: list[Any]) -> MemberArray | None:
        shape = equation.outvars[0].aval.shape
        shapes = {_shape(value) for value in ins}
        if shape in self._narrow and shapes <= {(), shape}:
            flat = [self._flat(value, shape) for value in ins]
            return MemberArray(bind(equation, flat)[0], shape, FLAT)
        if shape in self._weights and shapes <= {(), shape}:
            packed = [self._packed(value, shape) for value in ins]
            return MemberArray(bind(equation, packed)[0], shape, PACKED)
        return None

    def _dot_general(self, equation: Equation, ins: list[Any]) -> MemberArray | None:
        per_member = [isinstance(value, MemberArray) for value in ins]
        if not is_shared_product(equation, per_member):
            return None
        (rows,) = (value for value in ins if not isinstance(value, MemberArray))
        (matrices,) = (value for value in ins if isinstance(value, MemberArray))
        numbers = dimension_numbers(equation)
        if numbers == _GRADIENT and id(rows) in self._columns:
            # XLA is slower at products whose left side it must transpose.
            rows, numbers = self._columns[id(rows)][1], _FORWARD
        params = dict(equation.params, dimension_numbers=numbers)
        out = equation.primitive.bind(rows, self._packed(matrices, matrices.shape), **params)
        layout = PACKED if per_member[1] else TRANSPOSED
        return MemberArray(out, equation.outvars[0].aval.shape, layout)

    def _transpose(self, equation: Equation, ins: list[Any]) -> MemberArray | None:
        (value,) = ins
        if value.layout not in (PACKED, TRANSPOSED) or equation.params["permutation"] != (1, 0):
            return None
        layout = PACKED if value.layout == TRANSPOSED else TRANSPOSED
        return MemberArray(value.array, value.shape[::-1], layout)

    def _reduce_sum(self, equation: Equation, ins: list[Any]) -> MemberArray | None:
        (value,), axes = ins, equation.params["axes"]
        if value.layout != PACKED or 0 not in axes:
            return None
        total = lambda a, axis: equation.primitive.bind(a, **dict(equation.params, axes=(axis,)))
        sums = total(value.array, 0).reshape(self._members, value.shape[1])
        if axes == (0,):
            return MemberArray(sums, value.shape[1:])
        return MemberArray(total(sums, 1), ())


_RULES: dict[str, Callable[[FusedInterpreter, Equation, list[Any]], MemberArray | None]] = {
    "dot_general": FusedInterpreter._dot_general,
    "transpose": FusedInterpreter._transpose,
    "reduce_sum": FusedInterpreter._reduce_sum,
} | dict.fromkeys(ELEMENTWISE, FusedInterpreter._elementwise)


def _shape(value: Any) -> tuple[int, ...]:
    return value.shape if isinstance(value, MemberArray) else np.shape(value)
