"""Sums of products: a factor that all of the summed numbers share is multiplied with afterwards.

The gradient of a normalisation sums dy, dy * x and dy * factor over an image, with a factor for
each channel. XLA writes dy * factor out and reads it again, or passes over dy once more. The third
sum is the first one times the factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import lax

from vtune.types import Array
from vtune.xla.jaxpr import Atom, Equation, is_literal

_Run = Callable[[Equation, list[Any]], Sequence[Any]]
_Made = dict[Atom, tuple[Equation, list[Any]]]  # by variable, the equation with its inputs


def factored(run: _Run) -> _Run:
    """Returns what runs an equation as `run` does, but takes factors and signs out of sums.

    It is for the equations of one traced function, in their order.
    """
    made: _Made = {}  # products and negations

    def run_factored(equation: Equation, ins: list[Any]) -> Sequence[Any]:
        if equation.primitive.name in ("mul", "neg"):
            made[equation.outvars[0]] = equation, ins
        if equation.primitive.name == "reduce_sum" and equation.invars[0] in made:
            return [_sum(run, made, equation, equation.invars[0], ins[0])]
        return run(equation, ins)

    return run_factored


def _sum(run: _Run, made: _Made, sum_of: Equation, summed: Atom, value: Array) -> Array:
    """Returns the sum that `sum_of` takes, of a variable of this value in the place of its own."""
    if is_literal(summed) or summed not in made:
        return run(sum_of, [value])[0]
    equation, ins = made[summed]
    if equation.primitive.name == "neg":
        return -_sum(run, made, sum_of, equation.invars[0], ins[0])
    axes = sum_of.params["axes"]
    for this, other in ((0, 1), (1, 0)):
        factor, rest = (equation.invars[i].aval.shape for i in (this, other))
        if factor and all(factor[axis] == 1 for axis in axes) and rest == value.shape:
            total = _sum(run, made, sum_of, equation.invars[other], ins[other])
            return lax.squeeze(ins[this], axes) * total
    return run(sum_of, [value])[0]
