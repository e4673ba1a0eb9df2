"""A loop that does its arithmetic on narrow matrices as on one long row of numbers.

XLA's CPU compiler goes through an array row by row, and through a short row number by number, where
it takes eight at once of a long one: one step of Adam on 24,576 weights takes a core 16 us in rows
of 64 and 91 us in rows of 16. So what is narrow is carried flat through the loop, and what is
computed of it place by place is computed flat: the same arithmetic on every number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.types import Array, PyTree
from vtune.xla.jaxpr import Equation, bind, evaluate

WIDEST = 47  # numbers in a row; from 48 on rows are about as fast as flat
FEWEST = 1024  # numbers in an array; fewer take no time that could be seen

# What is computed of the numbers in one place alone.
_BY_PLACE = """
    abs add add_any and atan2 cbrt ceil clamp convert_element_type copy cos div eq erf exp exp2
    expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg nextafter
    not or pow rem round rsqrt select_n sign sin sqrt square sub tanh xor
"""
BY_PLACE = frozenset(_BY_PLACE.split())


def fori_loop(
    lower: Any, upper: Any, body: Callable[[Array, PyTree], PyTree], start: PyTree
) -> PyTree:
    """`lax.fori_loop`, with the narrow arrays among what is carried flat on CPU."""
    leaves, structure = jax.tree.flatten(start)
    shapes = [leaf.shape if is_narrow(leaf) else None for leaf in leaves]
    if jax.default_backend() != "cpu" or not any(shapes):
        return lax.fori_loop(lower, upper, body, start)

    def each(change: Callable[..., Array], some: Sequence[Array]) -> list[Array]:
        pairs = zip(some, shapes, strict=True)
        return [leaf if shape is None else change(leaf, shape) for leaf, shape in pairs]

    def one(i: Array, carried: Sequence[Array]) -> list[Array]:
        flat = _Flat({shape for shape in shapes if shape is not None})
        own = each(flat.shaped, carried)
        traced = jax.make_jaxpr(lambda i, own: body(i, jax.tree.unflatten(structure, own)))
        outs = evaluate(traced(i, own), [i, *own], flat.run)
        return each(lambda leaf, _: flat.flat(leaf), outs)

    begun = each(lambda leaf, _: leaf.reshape(-1), leaves)
    ended = lax.fori_loop(lower, upper, one, begun)
    return jax.tree.unflatten(structure, each(lambda leaf, shape: leaf.reshape(shape), ended))


def is_narrow(leaf: Array) -> bool:
    return (
        jnp.issubdtype(leaf.dtype, jnp.floating)
        and leaf.size >= FEWEST
        and leaf.shape[-1] <= WIDEST
    )


class _Flat:
    """Runs equations, those of arrays with certain shapes on the arrays flattened."""

    def __init__(self, shapes: set[tuple[int, ...]]):
        self._shapes = shapes
        # By identity an array and what it was made of: the same numbers flat, or one scalar.
        self._made_of: dict[int, tuple[Array, Array]] = {}

    def shaped(self, source: Array, shape: tuple[int, ...]) -> Array:
        """An array of this shape from a flat one or a scalar, remembered as that."""
        whole = source.reshape(shape) if source.ndim else lax.broadcast(source, shape)
        self._made_of[id(whole)] = whole, source  # which keeps it alive, and its identity
        return whole

    def flat(self, whole: Array) -> Array:
        if id(whole) not in self._made_of:
            return whole.reshape(-1)
        source = self._made_of[id(whole)][1]
        return source if source.ndim else lax.broadcast(source, (math.prod(whole.shape),))

    def run(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        name = equation.primitive.name
        if name == "jit":  # one program holds it all anyway
            return evaluate(equation.params["jaxpr"], ins, self.run)
        shape = equation.outvars[0].aval.shape if equation.outvars else None
        if shape not in self._shapes:
            return bind(equation, ins)
        if name == "broadcast_in_dim" and np.ndim(ins[0]) == 0:
            return [self.shaped(jnp.asarray(ins[0]), shape)]
        if name in BY_PLACE and all(np.shape(a) in ((), shape) for a in ins):
            flat = [self.flat(a) if np.shape(a) else a for a in ins]
            return [self.shaped(bind(equation, flat)[0], shape)]
        return bind(equation, ins)
