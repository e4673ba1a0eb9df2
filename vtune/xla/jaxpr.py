"""A traced function's equations (a jaxpr): reading, running and comparing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

Equation = Any  # jax.extend.core.JaxprEqn
Atom = Any  # a variable of a jaxpr, or a literal


def opened(closed: Any) -> tuple[Any, Sequence[Any]]:
    """(equations, constants) of a traced function, with or without constants."""
    return getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())


def inner(params: Any) -> list[Any]:
    """The traced functions among an equation's parameters."""
    values = [v for value in params.values() for v in (value if type(value) is tuple else (value,))]
    return [value for value in values if _is_traced(value)]


def bind(equation: Equation, ins: list[Any]) -> Sequence[Any]:
    """Runs one equation as it is."""
    params = equation.params
    out = equation.primitive.bind(*ins, **equation.primitive.get_bind_params(params))
    return out if equation.primitive.multiple_results else [out]


def evaluate(
    closed: Any,
    args: Sequence[Any],
    run: Callable[[Equation, list[Any]], Sequence[Any]] = bind,
    consts: Sequence[Any] | None = None,
) -> list[Any]:
    """Runs a traced function's equations one by one, those that its results come of.

    Args:
      consts: in the place of its own.
    """
    jaxpr, own = opened(closed)
    values: dict[Any, Any] = dict(
        zip(jaxpr.constvars, own if consts is None else consts, strict=True)
    )
    values |= zip(jaxpr.invars, args, strict=True)
    return evaluate_some(needed(jaxpr.eqns, jaxpr.outvars), jaxpr.outvars, values, run)


def evaluate_some(
    equations: Iterable[Equation],
    wanted: Sequence[Atom],
    values: dict[Any, Any],
    run: Callable[[Equation, list[Any]], Sequence[Any]] = bind,
) -> list[Any]:
    """Runs these equations; `values` by variable is what is known before."""
    values = dict(values)
    read = lambda atom: atom.val if is_literal(atom) else values[atom]
    for equation in equations:
        with equation.ctx.manager:  # what the user had set around it, such as how keys are drawn
            outs = run(equation, [read(atom) for atom in equation.invars])
        values |= zip(equation.outvars, outs, strict=True)
    return [read(atom) for atom in wanted]


def is_literal(atom: Atom) -> bool:
    return hasattr(atom, "val")


def needed(equations: Sequence[Equation], wanted: Sequence[Atom]) -> list[Equation]:
    """Those equations that the wanted values come of, in their order."""
    open_ = {atom for atom in wanted if not is_literal(atom)}
    kept = []
    for equation in reversed(equations):
        if equation.effects or any(out in open_ for out in equation.outvars):
            kept.append(equation)
            open_ |= {atom for atom in equation.invars if not is_literal(atom)}
    return kept[::-1]


def depending(equations: Sequence[Equation], sources: Iterable[Atom]) -> set[Atom]:
    """All variables that are made of the sources, these included."""
    made = set(sources)
    for equation in equations:
        if any(not is_literal(atom) and atom in made for atom in equation.invars):
            made |= set(equation.outvars)
    return made


def match(
    ours: Sequence[Equation], theirs: Sequence[Equation], known: dict[Atom, Atom]
) -> dict[Atom, Atom] | None:
    """Our variables by theirs, where all we compute is computed, in this order, by them; else
    None. They may compute more.

    Args:
      known: their inputs and constants, with ours.
    """
    ours_by_theirs = dict(known)
    rest = iter(theirs)
    for own in ours:
        other = next((other for other in rest if _same_step(own, other, ours_by_theirs)), None)
        if other is None:
            return None
        ours_by_theirs |= zip(other.outvars, own.outvars, strict=True)
    return ours_by_theirs


def _same_step(own: Equation, other: Equation, ours_by_theirs: dict[Atom, Atom]) -> bool:
    return (
        own.primitive is other.primitive
        and own.ctx == other.ctx
        and len(own.invars) == len(other.invars)
        and all(
            _same_atom(*pair, ours_by_theirs) for pair in zip(own.invars, other.invars, strict=True)
        )
        and [v.aval for v in own.outvars] == [v.aval for v in other.outvars]
        and _same(dict(own.params), dict(other.params))
    )


def _same_atom(own: Atom, other: Atom, ours_by_theirs: dict[Atom, Atom]) -> bool:
    if is_literal(own) and is_literal(other):
        return own.aval == other.aval and _same(own.val, other.val)
    return not (is_literal(own) or is_literal(other)) and ours_by_theirs.get(other) is own


def _is_traced(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _same(a: Any, b: Any) -> bool:
    """Whether two parameters are surely the same; where in doubt they are not."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if _is_traced(a):
        return _same_function(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray | jax.Array):
        return a.dtype == b.dtype and a.shape == b.shape and bool(np.all(a == b))
    try:
        return bool(a == b)
    except Exception:
        return False


def _same_function(a: Any, b: Any) -> bool:
    (ours, own), (theirs, other) = opened(a), opened(b)
    pairs = [(ours.invars, theirs.invars), (ours.eqns, theirs.eqns), (ours.outvars, theirs.outvars)]
    if any(len(mine) != len(yours) for mine, yours in pairs) or not _same(list(own), list(other)):
        return False
    if [v.aval for v in ours.invars] != [v.aval for v in theirs.invars]:
        return False
    known = dict(zip(theirs.invars, ours.invars, strict=True))
    known |= zip(theirs.constvars, ours.constvars, strict=True)
    found = match(ours.eqns, theirs.eqns, known)
    outs = zip(ours.outvars, theirs.outvars, strict=True)
    return found is not None and all(_same_atom(*pair, found) for pair in outs)
