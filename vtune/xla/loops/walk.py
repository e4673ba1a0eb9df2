"""A walk over a traced step that tells which values differ between members."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from vtune.xla.jaxpr import Equation, is_literal, needed, opened

CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}  # call primitive: parameter of its body


def walk(
    traced: Any, per_member: Sequence[bool]
) -> Generator[tuple[Equation, list[bool]], None, list[bool]]:
    """Yields every equation, inside calls too, with a flag for each of its inputs.

    A flag says whether the value differs between members. Returns the flags of the outputs.

    Args:
      per_member: the flags of all constants and inputs.
    """
    jaxpr, _ = opened(traced)
    differs = dict(zip([*jaxpr.constvars, *jaxpr.invars], per_member, strict=True))
    flags = lambda atoms: [not is_literal(atom) and differs[atom] for atom in atoms]
    for equation in needed(jaxpr.eqns, jaxpr.outvars):
        ins, name = flags(equation.invars), equation.primitive.name
        if name in CALLS:
            body = equation.params[CALLS[name]]
            consts = [False] * len(opened(body)[0].constvars)
            outs = yield from walk(body, [*consts, *ins])
        else:
            yield equation, ins
            outs = [any(ins)] * len(equation.outvars)
        differs |= zip(equation.outvars, outs, strict=True)
    return flags(jaxpr.outvars)


def dimension_numbers(equation: Equation) -> Any:
    """Returns a product's dimension numbers as tuples of ints."""
    pairs = equation.params["dimension_numbers"]
    return tuple(tuple(tuple(map(int, axes)) for axes in pair) for pair in pairs)
