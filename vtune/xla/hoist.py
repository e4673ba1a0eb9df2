"""Takes out of a traced function what depends on some of its arguments alone, where that is work.

    f(a, b) = rest(a, b, values),    values = known(b)

What is cheap, such as a change of layout, stays in `rest`: the values are few and small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax import lax

from vtune.xla.jaxpr import (
    Atom,
    Equation,
    bind,
    evaluate_some,
    is_literal,
    needed,
    opened,
    scan_counts,
    subjaxprs,
)

_PRODUCTS = {"dot_general", "conv_general_dilated"}
# Done anew by whoever reads them: as much to read as to compute.
_CHEAP = {
    *("broadcast_in_dim", "convert_element_type", "copy", "reshape", "rev", "slice", "squeeze"),
    *("transpose", "expand_dims", "optimization_barrier", "neg", "stop_gradient"),
}

# Whose inputs are those of the function that they call, one for one.
_CALLS = {"scan", "checkpoint", "remat2", "jit", "pjit", "closed_call", "custom_jvp_call"}


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
    idle: set[Atom] = set()
    for equation in jaxpr.eqns:
        read = _read(equation)
        if equation.effects or not set(read) <= known:
            after.append(equation)
            continue
        before.append(equation)
        idle |= {a for a in equation.invars if not is_literal(a)} - known
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
        given |= {atom: lax.full(atom.aval.shape, 0, atom.aval.dtype) for atom in idle}
        return evaluate_some(needed(before, values), values, given)

    def rest(args: Sequence[Any], found: Sequence[Any]) -> list[Any]:
        given = constants | dict(zip(jaxpr.invars, args, strict=True))
        given |= dict(zip(values, found, strict=True))
        return evaluate_some(rest_equations, jaxpr.outvars, given, bind)

    return Hoisted(compute, rest)


def _read(equation: Equation) -> list[Atom]:
    """Returns the variables that an equation's results depend on.

    Layers in a loop or under `nn.remat` are given keys whether or not they draw from them.
    """
    atoms = equation.invars
    if equation.primitive.name in _CALLS:
        body, _ = opened(subjaxprs(equation.params)[0])
        within = _sources(body)
        if equation.primitive.name == "scan":  # what is carried is the result of no steps
            consts, carried = scan_counts(equation.params)
            within |= set(body.invars[consts : consts + carried])
        if len(body.invars) == len(atoms):
            pairs = zip(atoms, body.invars, strict=True)
            atoms = [atom for atom, inner in pairs if inner in within]
    return [atom for atom in atoms if not is_literal(atom)]


def _sources(jaxpr: Any) -> set[Atom]:
    """Returns the variables that a traced function's results depend on."""
    found = {atom for atom in jaxpr.outvars if not is_literal(atom)}
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not found.isdisjoint(equation.outvars):
            found |= set(_read(equation))
    return found


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
