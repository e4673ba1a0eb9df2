"""Tells, for every output of a traced function, which inputs it depends on, and which input it is
unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vtune.xla.dataflow import Flow
from vtune.xla.jaxpr import Equation, opened

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
    return _Sources().run(closed, [Source(frozenset({i}), i) for i in range(len(jaxpr.invars))])


class _Sources(Flow[Source]):
    constant = _NOTHING

    def one(self, equation: Equation, ins: list[Source]) -> Sequence[Source]:
        name = equation.primitive.name
        if name == "select_n":
            return [self.decided(self.joined(ins[1:]), ins[0])]
        if name in _COPIES and _same_form(equation):
            return [ins[0]._replace(inputs=_union(ins))]
        return [Source(_union(ins), None)] * len(equation.outvars)

    def joined(self, cases: Sequence[Source]) -> Source:
        same = {case.same for case in cases}
        return Source(_union(cases), same.pop() if len(same) == 1 else None)

    def decided(self, value: Source, by: Source) -> Source:
        if value.same is not None:  # the same input in all cases
            return value
        return value._replace(inputs=value.inputs | by.inputs)

    def part(self, value: Source) -> Source:
        return value._replace(same=None)


def _union(several: Sequence[Source]) -> frozenset[int]:
    return frozenset().union(*(one.inputs for one in several))


def _same_form(equation: Equation) -> bool:
    before, after = equation.invars[0].aval, equation.outvars[0].aval
    return before.shape == after.shape and before.dtype == after.dtype
