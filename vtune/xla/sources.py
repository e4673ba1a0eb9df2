"""Tells, for every output of a traced function, which inputs it depends on, and which input it is
unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vtune.xla.jaxpr import Equation, is_literal, opened, scan_counts

# Primitives that run the one traced function they hold on their own inputs.
_CALLS = {"jit", "closed_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call"}
# They return their input where shape and type stay the same.
_COPIES = {"broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze"}


class Source(NamedTuple):
    """What an output comes from.

    Attributes:
      inputs: the numbers of the inputs that it depends on.
      same: the number of the input that it is, unchanged; None where it is computed.
    """

    inputs: frozenset[int]
    same: int | None


_NOTHING = Source(frozenset(), None)


def sources(closed: Any) -> list[Source]:
    """Returns the source of every output of a traced function."""
    jaxpr, _ = opened(closed)
    return _run(closed, [Source(frozenset({i}), i) for i in range(len(jaxpr.invars))])


def _run(closed: Any, ins: Sequence[Source]) -> list[Source]:
    jaxpr, _ = opened(closed)
    known = dict.fromkeys(jaxpr.constvars, _NOTHING) | dict(zip(jaxpr.invars, ins, strict=True))
    read = lambda atom: _NOTHING if is_literal(atom) else known[atom]
    for equation in jaxpr.eqns:
        outs = _equation(equation, [read(atom) for atom in equation.invars])
        known |= zip(equation.outvars, outs, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation: Equation, ins: list[Source]) -> Sequence[Source]:
    name, params = equation.primitive.name, equation.params
    held = called(equation)
    if held is not None:
        return _run(held, ins)
    if name == "cond":
        branches = [_run(branch, ins[1:]) for branch in params["branches"]]
        return [_also(_joined(outs), ins[0]) for outs in zip(*branches, strict=True)]
    if name == "scan":
        return _scan(params, ins)
    if name == "while":
        return _while(params, ins)
    if name == "optimization_barrier":
        return ins
    if name == "select_n":
        return [_also(_joined(ins[1:]), ins[0])]
    if name in _COPIES and _same_form(equation):
        return [ins[0]._replace(inputs=_union(ins))]
    return [Source(_union(ins), None)] * len(equation.outvars)


def called(equation: Equation) -> Any | None:
    """Returns the one traced function that an equation runs on its own inputs, if it does."""
    if equation.primitive.name not in _CALLS:
        return None
    held = [equation.params[k] for k in ("jaxpr", "call_jaxpr") if k in equation.params]
    fits = held and len(opened(held[0])[0].invars) == len(equation.invars)
    return held[0] if fits else None


def _scan(params: Any, ins: list[Source]) -> list[Source]:
    consts, carried = scan_counts(params)
    fixed, carry, rows = ins[:consts], ins[consts : consts + carried], ins[consts + carried :]
    rows = [row._replace(same=None) for row in rows]
    carry = _settled(lambda carry: _run(params["jaxpr"], [*fixed, *carry, *rows])[:carried], carry)
    stacked = _run(params["jaxpr"], [*fixed, *carry, *rows])[carried:]
    return [*carry, *(out._replace(same=None) for out in stacked)]


def _while(params: Any, ins: list[Source]) -> list[Source]:
    first, then = params["cond_nconsts"], params["body_nconsts"]
    asked, fixed, carry = ins[:first], ins[first : first + then], ins[first + then :]
    carry = _settled(lambda carry: _run(params["body_jaxpr"], [*fixed, *carry]), carry)
    (going_on,) = _run(params["cond_jaxpr"], [*asked, *carry])
    return [_also(out, going_on) for out in carry]


def _settled(body: Any, carry: list[Source]) -> list[Source]:
    """Returns what a loop carries, after as many turns as change anything."""
    while True:
        after = [_joined(pair) for pair in zip(carry, body(carry), strict=True)]
        if after == carry:
            return carry
        carry = after


def _joined(cases: Sequence[Source]) -> Source:
    """Returns the source of a value that is one of these."""
    same = {case.same for case in cases}
    return Source(_union(cases), same.pop() if len(same) == 1 else None)


def _also(source: Source, deciding: Source) -> Source:
    """Adds what decides between cases, unless all of them are the same input."""
    if source.same is not None:
        return source
    return source._replace(inputs=source.inputs | deciding.inputs)


def _union(several: Sequence[Source]) -> frozenset[int]:
    return frozenset().union(*(one.inputs for one in several))


def _same_form(equation: Equation) -> bool:
    before, after = equation.invars[0].aval, equation.outvars[0].aval
    return before.shape == after.shape and before.dtype == after.dtype
