"""A loop that carries small matrices flattened to vectors, and computes on them elementwise.

XLA's CPU compiler vectorises along the last axis. A short row is computed number by number, a long
one eight numbers at once: one step of Adam on 24,576 weights takes a core 16 us in rows of 64 and
91 us in rows of 16. So matrices with short rows ("narrow" ones) are carried flat, and elementwise
operations run on the flat arrays. Every number goes through the same arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune import target
from vtune.types import Array, PyTree
from vtune.xla.jaxpr import Equation, bind, evaluate

MAX_ROW = 47  # numbers in a narrow row; from 48 on rows are about as fast as flat arrays
MIN_SIZE = 1024  # numbers in a narrow array; smaller arrays take no measurable time

_ELEMENTWISE = """
    abs add add_any and atan2 cbrt ceil clamp convert_element_type copy cos div eq erf exp exp2
    expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg nextafter
    not or pow rem round rsqrt select_n sign sin sqrt square sub tanh xor
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())  # names of elementwise primitives


def fori_loop(
    lower: Any, upper: Any, body: Callable[[Array, PyTree], PyTree], start: PyTree
) -> PyTree:
    """`lax.fori_loop`; on CPU the narrow arrays of the carry are carried flat."""
    leaves, structure = jax.tree.flatten(start)
    shapes = [leaf.shape if is_narrow(leaf) else None for leaf in leaves]
    if target.platform() != "cpu" or not any(shapes):
        return lax.fori_loop(lower, upper, body, start)

    def map_narrow(change: Callable[..., Array], carry: Sequence[Array]) -> list[Array]:
        pairs = zip(carry, shapes, strict=True)
        return [leaf if shape is None else change(leaf, shape) for leaf, shape in pairs]

    def flat_body(i: Array, carry: Sequence[Array]) -> list[Array]:
        interpreter = _FlatInterpreter({shape for shape in shapes if shape is not None})
        shaped = map_narrow(interpreter.shaped, carry)
        traced = jax.make_jaxpr(lambda i, leaves: body(i, jax.tree.unflatten(structure, leaves)))
        outs = evaluate(traced(i, shaped), [i, *shaped], interpreter.run)
        return map_narrow(lambda leaf, _: interpreter.flat(leaf), outs)

    carry = map_narrow(lambda leaf, _: leaf.reshape(-1), leaves)
    carry = lax.fori_loop(lower, upper, flat_body, carry)
    leaves = map_narrow(lambda leaf, shape: leaf.reshape(shape), carry)
    return jax.tree.unflatten(structure, leaves)


def is_narrow(leaf: Array) -> bool:
    """Whether an array (or its shape) has rows so short that it is carried flat."""
    return (
        jnp.issubdtype(leaf.dtype, jnp.floating)
        and leaf.size >= MIN_SIZE
        and leaf.shape[-1] <= MAX_ROW
    )


class _FlatInterpreter:
    """Runs equations; elementwise ones on arrays of the given shapes run on flattened arrays."""

    def __init__(self, shapes: set[tuple[int, ...]]):
        self._shapes = shapes
        # Maps id(array) to (array, its flat or scalar source); holding the array keeps the id
        # valid.
        self._sources: dict[int, tuple[Array, Array]] = {}

    def shaped(self, source: Array, shape: tuple[int, ...]) -> Array:
        """Returns an array of this shape made from a flat array or a scalar, which is kept."""
        array = source.reshape(shape) if source.ndim else lax.broadcast(source, shape)
        self._sources[id(array)] = array, source
        return array

    def flat(self, array: Array) -> Array:
        """Returns an array flattened, without an operation where its flat source is kept."""
        if id(array) not in self._sources:
            return array.reshape(-1)
        source = self._sources[id(array)][1]
        return source if source.ndim else lax.broadcast(source, (math.prod(array.shape),))

    def run(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        """Runs one equation and returns its outputs."""
        name = equation.primitive.name
        if name == "jit":  # inlined: all is one program in the end
            return evaluate(equation.params["jaxpr"], ins, self.run)
        shape = equation.outvars[0].aval.shape if equation.outvars else None
        if shape not in self._shapes:
            return bind(equation, ins)
        if name == "broadcast_in_dim" and np.ndim(ins[0]) == 0:
            return [self.shaped(jnp.asarray(ins[0]), shape)]
        if name in ELEMENTWISE and all(np.shape(a) in ((), shape) for a in ins):
            flat = [self.flat(a) if np.shape(a) else a for a in ins]
            return [self.shaped(bind(equation, flat)[0], shape)]
        return bind(equation, ins)
