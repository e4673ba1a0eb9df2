"""Reads, runs and compares the equations of a traced function (a jaxpr)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np

Equation = Any  # jax.extend.core.JaxprEqn
Atom = Any  # a variable of a jaxpr, or a literal


def opened(closed: Any) -> tuple[Any, Sequence[Any]]:
    """Returns (jaxpr, constants) of a closed jaxpr, or of an open one, which has no constants."""
    return getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())


def subjaxprs(params: Any) -> list[Any]:
    """Returns the traced functions among an equation's parameters, such as a loop's body."""
    values = [v for value in params.values() for v in (value if type(value) is tuple else (value,))]
    return [value for value in values if _is_traced(value)]


def scan_counts(params: Any) -> tuple[int, int]:
    """Returns how many inputs of `lax.scan` are constants, and how many are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carried, _ = map(len, params["ft_in"].unpack())  # since jax 0.11
    return consts, carried


def bind(equation: Equation, ins: list[Any]) -> Sequence[Any]:
    """Runs one equation unchanged and returns its outputs."""
    params = equation.params
    out = equation.primitive.bind(*ins, **equation.primitive.get_bind_params(params))
    return out if equation.primitive.multiple_results else [out]


def evaluate(
    closed: Any,
    args: Sequence[Any],
    run: Callable[[Equation, list[Any]], Sequence[Any]] = bind,
    consts: Sequence[Any] | None = None,
) -> list[Any]:
    """Runs a traced function equation by equation, leaving out those that no output needs.

    Args:
      run: runs one equation, given the values of its inputs.
      consts: replace the constants that the function was traced with.
    """
    jaxpr, traced_consts = opened(closed)
    consts = traced_consts if consts is None else consts
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= zip(jaxpr.invars, args, strict=True)
    return evaluate_some(needed(jaxpr.eqns, jaxpr.outvars), jaxpr.outvars, values, run)


def evaluate_some(
    equations: Iterable[Equation],
    wanted: Sequence[Atom],
    values: dict[Any, Any],
    run: Callable[[Equation, list[Any]], Sequence[Any]] = bind,
) -> list[Any]:
    """Runs these equations and returns the values of the `wanted` variables.

    Args:
      values: by variable, the values known beforehand.
    """
    values = dict(values)
    read = lambda atom: atom.val if is_literal(atom) else values[atom]
    for equation in equations:
        # Settings of the user around it, such as how keys are drawn; and the names of modules.
        with equation.ctx.manager, _named(equation):
            outs = run(equation, [read(atom) for atom in equation.invars])
        values |= zip(equation.outvars, outs, strict=True)
    return [read(atom) for atom in wanted]


def _named(equation: Equation) -> AbstractContextManager[Any]:
    names = str(equation.source_info.name_stack)
    return jax.named_scope(names) if names else nullcontext()


def is_literal(atom: Atom) -> bool:
    """Whether an atom is a literal number and not a variable."""
    return hasattr(atom, "val")


def needed(equations: Sequence[Equation], wanted: Sequence[Atom]) -> list[Equation]:
    """Returns the equations that the wanted values depend on, in their order."""
    missing = {atom for atom in wanted if not is_literal(atom)}
    kept = []
    for equation in reversed(equations):
        if equation.effects or any(out in missing for out in equation.outvars):
            kept.append(equation)
            missing |= {atom for atom in equation.invars if not is_literal(atom)}
    return kept[::-1]


def depending(equations: Sequence[Equation], sources: Iterable[Atom]) -> set[Atom]:
    """Returns the variables that depend on the sources, the sources included."""
    dependent = set(sources)
    for equation in equations:
        if any(not is_literal(atom) and atom in dependent for atom in equation.invars):
            dependent |= set(equation.outvars)
    return dependent


def match(
    ours: Sequence[Equation], theirs: Sequence[Equation], known: dict[Atom, Atom]
) -> dict[Atom, Atom] | None:
    """Maps each of their variables to ours if our equations occur, in order, among theirs.

    Returns None if they do not. They may hold further equations.

    Args:
      known: their inputs and constants, mapped to ours.
    """
    ours_by_theirs = dict(known)
    remaining = iter(theirs)
    for equation in ours:
        same = (other for other in remaining if _same_equation(equation, other, ours_by_theirs))
        other = next(same, None)
        if other is None:
            return None
        ours_by_theirs |= zip(other.outvars, equation.outvars, strict=True)
    return ours_by_theirs


def _same_equation(ours: Equation, theirs: Equation, ours_by_theirs: dict[Atom, Atom]) -> bool:
    return (
        ours.primitive is theirs.primitive
        and ours.ctx == theirs.ctx
        and len(ours.invars) == len(theirs.invars)
        and all(
            _same_atom(a, b, ours_by_theirs)
            for a, b in zip(ours.invars, theirs.invars, strict=True)
        )
        and [v.aval for v in ours.outvars] == [v.aval for v in theirs.outvars]
        and _same(dict(ours.params), dict(theirs.params))
    )


def _same_atom(ours: Atom, theirs: Atom, ours_by_theirs: dict[Atom, Atom]) -> bool:
    if is_literal(ours) and is_literal(theirs):
        return ours.aval == theirs.aval and _same(ours.val, theirs.val)
    return not (is_literal(ours) or is_literal(theirs)) and ours_by_theirs.get(theirs) is ours


def _is_traced(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _same(a: Any, b: Any) -> bool:
    """Whether two parameters are certainly the same; False where that cannot be told."""
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
    (ours, our_consts), (theirs, their_consts) = opened(a), opened(b)
    pairs = [(ours.invars, theirs.invars), (ours.eqns, theirs.eqns), (ours.outvars, theirs.outvars)]
    if any(len(x) != len(y) for x, y in pairs) or not _same(list(our_consts), list(their_consts)):
        return False
    if [v.aval for v in ours.invars] != [v.aval for v in theirs.invars]:
        return False
    known = dict(zip(theirs.invars, ours.invars, strict=True))
    known |= zip(theirs.constvars, ours.constvars, strict=True)
    ours_by_theirs = match(ours.eqns, theirs.eqns, known)
    outs = zip(ours.outvars, theirs.outvars, strict=True)
    return ours_by_theirs is not None and all(_same_atom(*pair, ours_by_theirs) for pair in outs)
