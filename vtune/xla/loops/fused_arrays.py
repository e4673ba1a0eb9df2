"""Runs one member's equations for several members at once, matrices side by side where it pays.

What every member has its own of is held in one of four forms,

    PLAIN   [members, *shape]
    FLAT    [members, size]           of narrow arrays, as in narrow.py
    BESIDE  [n, members * m]          of matrices [n, m]
    TURNED  [n, members * m]          of matrices [m, n]

and what all members share as it is. An equation that no form is made for runs as under vmap.
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
from vtune.xla.loops.flat import BY_PLACE, is_narrow

PLAIN, FLAT, BESIDE, TURNED = "plain", "flat", "beside", "turned"
CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}  # what they run, by primitive

_PRODUCT = (((1,), (0,)), ((), ()))  # [n, k] x [k, m]
_GRADIENT = (((0,), (0,)), ((), ()))  # [k, n] x [k, m], as differentiation by a right side makes it


@dataclass(frozen=True, eq=False)
class Own:
    """An array that every member has its own of. `shape` is that of one member's."""

    array: Array
    shape: tuple[int, ...]
    form: str = PLAIN


def is_by_weights(equation: Equation, own: Sequence[bool]) -> bool:
    """Whether this is a product of rows that all members share by a matrix of each one's own."""
    return is_shared_product(equation, own) and own[1] and _numbers(equation) == _PRODUCT


def is_shared_product(equation: Equation, own: Sequence[bool]) -> bool:
    """Whether this is a product of a matrix that all members share and one that each has its own
    of: rows by weights, or their gradient by the weights, from either side.

    Args:
      own: by input, whether each member has its own.
    """
    if equation.primitive.name != "dot_general" or sum(own) != 1:
        return False
    if any(atom.aval.ndim != 2 for atom in equation.invars):
        return False
    numbers = _numbers(equation)
    return numbers == _GRADIENT or (numbers == _PRODUCT and own[1])


class Beside:
    """Runs equations for so many members.

    Args:
      carried: what one member carries from step to step, as shapes.
      weights: shapes of matrices among it that are held beside each other.
      columns: a batch's arrays [batch, ...], each with the same numbers as [columns, batch].
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
        self._narrow = {one.shape for one in carried if is_narrow(one)} - weights
        self._columns = {id(pair[0]): pair for pair in columns}  # which keeps them, and their ids

    def held(self, value: Any, like: Any) -> Own:
        """A value in the form in which it is carried, where one member's is `like`."""
        floating = jnp.issubdtype(like.dtype, jnp.floating)
        if floating and like.shape in self._weights:
            return Own(self._beside(value, like.shape), like.shape, BESIDE)
        if floating and like.shape in self._narrow:
            return Own(self._flat(value, like.shape), like.shape, FLAT)
        return Own(self.plain(value), like.shape)

    def plain(self, value: Any) -> Array:
        """[members, *shape], whatever the form."""
        if not isinstance(value, Own):
            return jnp.broadcast_to(value, (self._members, *np.shape(value)))
        if value.form == FLAT:
            return value.array.reshape(self._members, *value.shape)
        if value.form in (BESIDE, TURNED):
            n, m = value.shape if value.form == BESIDE else value.shape[::-1]
            apart = value.array.reshape(n, self._members, m)
            return apart.transpose((1, 0, 2) if value.form == BESIDE else (1, 2, 0))
        return value.array

    def run(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        """The results of an equation, `Own` where any of its inputs is."""
        name = equation.primitive.name
        if not any(isinstance(value, Own) for value in ins):
            outs = bind(equation, ins)
            self._follow(equation, ins, outs)
            return outs
        if name in CALLS:
            return evaluate(equation.params[CALLS[name]], ins, self.run)
        rule = _RULES.get(name)
        made = None if rule is None else rule(self, equation, ins)
        return self._under_vmap(equation, ins) if made is None else [made]

    def _under_vmap(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        axes = tuple(0 if isinstance(value, Own) else None for value in ins)
        arrays = [self.plain(value) if isinstance(value, Own) else value for value in ins]
        outs = jax.vmap(lambda *one: tuple(bind(equation, list(one))), in_axes=axes)(*arrays)
        return [Own(out, var.aval.shape) for out, var in zip(outs, equation.outvars, strict=True)]

    def _follow(self, equation: Equation, ins: list[Any], outs: Sequence[Any]) -> None:
        """Keeps the columns of what is made of a batch number by number, or by another shape."""
        name, shape = equation.primitive.name, np.shape(outs[0]) if outs else ()
        known = [value for value in ins if id(value) in self._columns]
        if len(known) != 1 or shape[:1] != known[0].shape[:1]:
            return
        columns = self._columns[id(known[0])][1]
        if name in BY_PLACE and all(value is known[0] or np.ndim(value) == 0 for value in ins):
            (columns,) = bind(equation, [columns if v is known[0] else v for v in ins])
        elif name not in ("reshape", "squeeze"):
            return
        self._columns[id(outs[0])] = outs[0], columns

    def _flat(self, value: Any, shape: tuple[int, ...]) -> Array:
        """[members, size], of an array of this shape or one number; a number for all stays one."""
        if isinstance(value, Own) and value.form == FLAT:
            return value.array
        if not isinstance(value, Own) and np.ndim(value) == 0:
            return value
        rows = self.plain(value).reshape(self._members, math.prod(_shape(value)))
        return jnp.broadcast_to(rows, (self._members, math.prod(shape)))

    def _beside(self, value: Any, shape: tuple[int, ...]) -> Array:
        """[n, members * m], of a matrix of this shape or one number; a number for all stays one."""
        n, m = shape
        if isinstance(value, Own) and value.form == BESIDE and value.shape == shape:
            return value.array
        if not isinstance(value, Own) and np.ndim(value) == 0:
            return value
        if not isinstance(value, Own):
            rows = jnp.tile(value, (1, self._members))
        elif value.shape == ():
            rows = jnp.repeat(value.array, m)[None]
        else:
            rows = self.plain(value).transpose(1, 0, 2).reshape(n, self._members * m)
        return jnp.broadcast_to(rows, (n, self._members * m))

    def _by_place(self, equation: Equation, ins: list[Any]) -> Own | None:
        """What is computed of the numbers in one place alone."""
        shape = equation.outvars[0].aval.shape
        shapes = {_shape(value) for value in ins}
        if shape in self._narrow and shapes <= {(), shape}:
            flat = [self._flat(value, shape) for value in ins]
            return Own(bind(equation, flat)[0], shape, FLAT)
        if shape in self._weights and shapes <= {(), shape}:
            beside = [self._beside(value, shape) for value in ins]
            return Own(bind(equation, beside)[0], shape, BESIDE)
        return None

    def _dot_general(self, equation: Equation, ins: list[Any]) -> Own | None:
        own = [isinstance(value, Own) for value in ins]
        if not is_shared_product(equation, own):
            return None
        (rows,) = (value for value in ins if not isinstance(value, Own))
        (each,) = (value for value in ins if isinstance(value, Own))
        numbers = _numbers(equation)
        if numbers == _GRADIENT and id(rows) in self._columns:
            # XLA is slower at products of which it turns the left side.
            rows, numbers = self._columns[id(rows)][1], _PRODUCT
        product = dict(equation.params, dimension_numbers=numbers)
        out = equation.primitive.bind(rows, self._beside(each, each.shape), **product)
        return Own(out, equation.outvars[0].aval.shape, BESIDE if own[1] else TURNED)

    def _transpose(self, equation: Equation, ins: list[Any]) -> Own | None:
        (value,) = ins
        if value.form not in (BESIDE, TURNED) or equation.params["permutation"] != (1, 0):
            return None
        turned = BESIDE if value.form == TURNED else TURNED
        return Own(value.array, value.shape[::-1], turned)

    def _reduce_sum(self, equation: Equation, ins: list[Any]) -> Own | None:
        (value,), axes = ins, equation.params["axes"]
        if value.form != BESIDE or 0 not in axes:
            return None
        total = lambda a, axis: equation.primitive.bind(a, **dict(equation.params, axes=(axis,)))
        sums = total(value.array, 0).reshape(self._members, value.shape[1])
        return Own(sums, value.shape[1:]) if axes == (0,) else Own(total(sums, 1), ())


_RULES: dict[str, Callable[[Beside, Equation, list[Any]], Own | None]] = {
    "dot_general": Beside._dot_general,
    "transpose": Beside._transpose,
    "reduce_sum": Beside._reduce_sum,
} | dict.fromkeys(BY_PLACE, Beside._by_place)


def _shape(value: Any) -> tuple[int, ...]:
    return value.shape if isinstance(value, Own) else np.shape(value)


def _numbers(equation: Equation) -> Any:
    """A product's dimension numbers as tuples of ints."""
    pairs = equation.params["dimension_numbers"]
    return tuple(tuple(tuple(map(int, axes)) for axes in pair) for pair in pairs)
