"""Takes out of a traced function what depends on some of its arguments alone, where that is work.

    f(a, b) = rest(a, b, values),    values = known(b)

What is cheap, such as a change of layout, stays in `rest`: the values are few and small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vtune.xla.jaxpr import (
    Atom,
    Equation,
    bind,
    evaluate_some,
    is_literal,
    needed,
    opened,
    subjaxprs,
)

_PRODUCTS = {"dot_general", "conv_general_dilated"}
# Done anew by whoever reads them: as much to read as to compute.
_CHEAP = {
    *("broadcast_in_dim", "convert_element_type", "copy", "reshape", "rev", "slice", "squeeze"),
    *("transpose", "expand_dims", "optimization_barrier", "neg", "stop_gradient"),
}


class Hoisted(NamedTuple):
    """A function in two parts.

    Attributes:
      known: (known arguments) -> values. rest: (all arguments, values) -> outputs.
    """

    known: Callable[[Sequence[Any]], list[Any]]
    rest: Callable[[Sequence[Any], Sequence[Any]], list[Any]]


def hoisted(closed: Any, is_known: Sequence[bool]) -> Hoisted | None:
    """Returns a traced function in two parts; None where nothing costly depends on the known
    arguments alone.

    Args:
      closed: its jaxpr; calls in it are not looked into.
      is_known: by argument, whether it counts as known.
    """
    jaxpr, consts = opened(closed)
    constants = dict(zip(jaxpr.constvars, consts, strict=True))
    known: set[Atom] = set(constants)
    known |= {var for var, flag in zip(jaxpr.invars, is_known, strict=True) if flag}
    before, deep, after = [], set[Atom](), []
    made: dict[Atom, Equation] = {}
    for equation in jaxpr.eqns:
        read = [atom for atom in equation.invars if not is_literal(atom)]
        if equation.effects or not set(read) <= known:
            after.append(equation)
            continue
        before.append(equation)
        known |= set(equation.outvars)
        made |= dict.fromkeys(equation.outvars, equation)
        if deep & set(read) or _is_costly(equation):
            deep |= set(equation.outvars)
    wanted = [atom for atom in jaxpr.outvars if not is_literal(atom)]
    read_later = {a for e in needed(after, wanted) for a in e.invars if not is_literal(a)}
    values = _few((read_later | set(wanted)) & deep, deep, made)
    if not values:
        return None
    own = [e for e in jaxpr.eqns if not set(e.outvars) & set(values)]
    rest_equations = _needed(own, wanted, set(values))

    def compute(args: Sequence[Any]) -> list[Any]:
        variables = [var for var, flag in zip(jaxpr.invars, is_known, strict=True) if flag]
        given = constants | dict(zip(variables, args, strict=True))
        return evaluate_some(needed(before, values), values, given)

    def rest(args: Sequence[Any], found: Sequence[Any]) -> list[Any]:
        given = constants | dict(zip(jaxpr.invars, args, strict=True))
        given |= dict(zip(values, found, strict=True))
        return evaluate_some(rest_equations, jaxpr.outvars, given, bind)

    return Hoisted(compute, rest)


def _is_costly(equation: Equation) -> bool:
    """Whether an equation is a product, or calls one."""
    return equation.primitive.name in _PRODUCTS or any(
        _is_costly(inner) for body in subjaxprs(equation.params) for inner in opened(body)[0].eqns
    )


def _few(values: set[Atom], deep: set[Atom], made: dict[Atom, Equation]) -> list[Atom]:
    """Returns what is to be kept: what a cheap equation made is made again of what it read."""
    kept: dict[Atom, None] = {}
    order = {atom: number for number, atom in enumerate(made)}
    waiting = sorted(values, key=order.__getitem__)
    seen: set[Atom] = set()
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        equation = made[value]
        if equation.primitive.name not in _CHEAP:
            kept[value] = None
            continue
        waiting += [a for a in equation.invars if not is_literal(a) and a in deep]
    return list(kept)


def _needed(
    equations: Sequence[Equation], wanted: Sequence[Atom], given: set[Atom]
) -> list[Equation]:
    """Returns the equations that the wanted values depend on, where some values are given."""
    missing = set(wanted) - given
    kept = []
    for equation in reversed(equations):
        if equation.effects or any(out in missing for out in equation.outvars):
            kept.append(equation)
            missing |= {a for a in equation.invars if not is_literal(a)} - given
    return kept[::-1]
