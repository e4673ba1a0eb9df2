"""Follows values of any kind through a traced function: through its calls, branches and loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from vtune.xla.jaxpr import Equation, is_literal, opened, scan_counts

V = TypeVar("V")

# Primitives that run the one traced function they hold on their own inputs.
_CALLS = {"jit", "closed_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call"}


class Flow(ABC, Generic[V]):
    """What is known of an array, as a value of type V, and how it changes on the way.

    A subclass says what becomes of a value in one equation, and what is known where several cases
    meet. Values are compared: a loop is followed until none changes.
    """

    constant: V  # of what the function closes over

    @abstractmethod
    def one(self, equation: Equation, ins: list[V]) -> Sequence[V]:
        """Returns what is known of the outputs of an equation that holds no function."""

    @abstractmethod
    def joined(self, cases: Sequence[V]) -> V:
        """Returns what is known of an array that is one of these."""

    @abstractmethod
    def decided(self, value: V, by: V) -> V:
        """Returns what is known of a result of branches or turns that `by` decides between."""

    @abstractmethod
    def part(self, value: V) -> V:
        """Returns what is known of one row of a scanned array, or of the rows that one stacks."""

    def literal(self, value: Any) -> V:
        """Returns what is known of a number in the text of the function."""
        del value
        return self.constant

    def carried(self, value: V) -> V:
        """Returns what is known of what a loop carries, before its first turn."""
        return value

    def run(self, closed: Any, ins: Sequence[V]) -> list[V]:
        """Returns what is known of the outputs of a traced function, from what is of its inputs."""
        jaxpr, _ = opened(closed)
        known = dict.fromkeys(jaxpr.constvars, self.constant)
        known |= zip(jaxpr.invars, ins, strict=True)
        read = lambda atom: self.literal(atom.val) if is_literal(atom) else known[atom]
        for equation in jaxpr.eqns:
            outs = self._equation(equation, [read(atom) for atom in equation.invars])
            known |= zip(equation.outvars, outs, strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Equation, ins: list[V]) -> Sequence[V]:
        name, params = equation.primitive.name, equation.params
        held = _called(equation)
        if held is not None:
            return self.run(held, ins)
        if name == "cond":
            branches = [self.run(branch, ins[1:]) for branch in params["branches"]]
            cases = zip(*branches, strict=True)
            return [self.decided(self.joined(outs), ins[0]) for outs in cases]
        if name == "scan":
            return self._scan(params, ins)
        if name == "while":
            return self._while(params, ins)
        return ins if name == "optimization_barrier" else self.one(equation, ins)

    def _scan(self, params: Any, ins: list[V]) -> list[V]:
        consts, count = scan_counts(params)
        fixed, carry, rows = ins[:consts], ins[consts : consts + count], ins[consts + count :]
        rows = list(map(self.part, rows))
        body = lambda carry: self.run(params["jaxpr"], [*fixed, *carry, *rows])
        carry = self._settled(lambda carry: body(carry)[:count], carry)
        return [*carry, *map(self.part, body(carry)[count:])]

    def _while(self, params: Any, ins: list[V]) -> list[V]:
        first, then = params["cond_nconsts"], params["body_nconsts"]
        asked, fixed, carry = ins[:first], ins[first : first + then], ins[first + then :]
        carry = self._settled(lambda carry: self.run(params["body_jaxpr"], [*fixed, *carry]), carry)
        (going_on,) = self.run(params["cond_jaxpr"], [*asked, *carry])
        return [self.decided(out, going_on) for out in carry]

    def _settled(self, body: Callable[[list[V]], list[V]], carry: list[V]) -> list[V]:
        """Returns what a loop carries, after as many turns as change anything."""
        carry = list(map(self.carried, carry))
        while True:
            after = [self.joined(pair) for pair in zip(carry, body(carry), strict=True)]
            if after == carry:
                return carry
            carry = after


def _called(equation: Equation) -> Any | None:
    """Returns the one traced function that an equation runs on its own inputs, if it does."""
    if equation.primitive.name not in _CALLS:
        return None
    held = [equation.params[k] for k in ("jaxpr", "call_jaxpr") if k in equation.params]
    fits = held and len(opened(held[0])[0].invars) == len(equation.invars)
    return held[0] if fits else None
