"""Looks for the uses of weights in a traced model, over shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vtune.lora.products import Use, used_axes
from vtune.lora.tagged import Tagged, looked_for, stacked, taken
from vtune.lora.walk import called, followed
from vtune.xla.branches import Walk
from vtune.xla.jaxpr import Equation, opened, scan_counts


class Split(NamedTuple):
    """How the axes of a weight are those of its adapter, each in order.

    Attributes:
      stack: those that A and B both have: layers of a scan, products of a batch, and axes of which
        an index takes one entry.
      inner: of A, with the rank behind. outer: of B, with the rank before.
      table: whether it is a table whose rows are looked up.
    """

    stack: tuple[int, ...]
    inner: tuple[int, ...]
    outer: tuple[int, ...]
    table: bool = False

    def sides(self, shape: Sequence[int]) -> frozenset[frozenset[int]]:
        """Returns the axes of A alone and of B alone, in no order, without those of length 1."""
        long = lambda axes: frozenset(axis for axis in axes if shape[axis] != 1)
        return frozenset({long(self.inner), long(self.outer)})


@dataclass
class Found:
    """What becomes of one weight.

    Attributes:
      shape: of the weight.
      uses: (axes of their own, summed, kept, whether it is looked up) of each.
      lost: the names of what else it reaches. products: whether one of these is a product.
      added: whether all else that it reaches only adds it, or has it as a vector.
    """

    shape: tuple[int, ...]
    uses: list[tuple[Any, ...]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    products: bool = False
    added: bool = True

    @property
    def is_bias(self) -> bool:
        """Whether it is in no product, and is added, or is a vector in each layer of a loop."""
        return not self.used and self.added

    @property
    def used(self) -> bool:
        """Whether it is in a product or looked up."""
        return bool(self.uses) or self.products

    @property
    def multiplied(self) -> bool:
        """Whether it is in a product."""
        return self.products or any(not lookup for *_, lookup in self.uses)

    @property
    def trouble(self) -> str:
        """What keeps an adapter from following it; empty where nothing does."""
        if self.lost:
            return f"reaches {', '.join(sorted(set(self.lost)))}"
        if self.uses and self.split is None:
            return "is used along different axes in different places"
        return ""

    @property
    def split(self) -> Split | None:
        """The adapter's axes; None where the uses contradict each other, or something is lost."""
        if self.lost or not self.uses:
            return None
        long = {axis for axis, size in enumerate(self.shape) if size != 1}
        sides = {frozenset({inner & long, outer & long}) for _, inner, outer, _ in self.uses}
        if len(sides) != 1:
            return None
        # the first lookup, or else the first use
        noted, inner, outer, table = max(self.uses, key=lambda use: use[3])
        stack = noted | (long - inner - outer)  # what is left is what an index takes one of
        inner = frozenset(range(len(self.shape))) - stack - outer
        return Split(_in_order(stack), _in_order(inner), _in_order(outer), table)


def uses(closed: Any, weights: Mapping[str, int]) -> dict[str, Found]:
    """Returns what becomes of weights in a traced model.

    Args:
      weights: by name, their places among the arguments of `closed`.
    """
    args = [var.aval for var in opened(closed)[0].invars]
    found = {name: Found(tuple(args[place].shape)) for name, place in weights.items()}
    for name, place in weights.items():
        args[place] = looked_for(name, args[place])
    followed(_Looking(found), closed, args)
    return found


class _Looking:
    """A walk over shapes that notes the uses of weights."""

    def __init__(self, found: dict[str, Found]):
        self._found = found

    def run(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        return [var.aval for var in equation.outvars]

    def use(self, tagged: Tagged, use: Use | None, equation: Equation, ins: list[Any]) -> Any:
        axes = None if use is None else used_axes(tagged, use)
        found = self._found[tagged.name]
        if use is None or axes is None:
            found.products |= equation.primitive.name != "gather"
            found.lost.append(_described(equation))
        else:
            found.uses.append((*axes, use.lookup))
        return equation.outvars[0].aval

    def lost(self, tagged: Tagged, primitive: str) -> None:
        found = self._found[tagged.name]
        found.lost.append(primitive)
        is_vector = len(found.shape) - len(tagged.stack) < 2
        found.added &= is_vector or primitive in ("add", "sub", "add_any")

    def call(self, walk: Walk, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        name, params = equation.primitive.name, equation.params
        if name not in _LOOPS:
            return walk(called(params), ins)
        for one in _LOOPS[name](self, walk, ins, params):
            self._no_weight(one, name)
        return self.run(equation, [])

    def _no_weight(self, one: Any, name: str) -> Any:
        if not isinstance(one, Tagged):
            return one
        self.lost(one, name)
        return one.value

    def _scan(self, walk: Walk, ins: list[Any], params: Any) -> list[Any]:
        consts, carried = scan_counts(params)
        shapes = [var.aval for var in opened(params["jaxpr"])[0].invars]
        for place, one in enumerate(ins):
            if not isinstance(one, Tagged):
                continue
            whole = one if place < consts else None
            if place >= consts + carried and (apart := stacked(one)) is not None:
                whole = taken(apart, shapes[place])
            if whole is None:
                self.lost(one, "scan")
            else:
                shapes[place] = whole
        return walk(params["jaxpr"], shapes)

    def _while(self, walk: Walk, ins: list[Any], params: Any) -> list[Any]:
        first = params["cond_nconsts"]
        last = first + params["body_nconsts"]
        carry = [self._no_weight(one, "while") for one in ins[last:]]
        walk(params["cond_jaxpr"], [*ins[:first], *carry])
        return walk(params["body_jaxpr"], [*ins[first:last], *carry])

    def _cond(self, walk: Walk, ins: list[Any], params: Any) -> list[Any]:
        self._no_weight(ins[0], "cond")
        return [out for branch in params["branches"] for out in walk(branch, ins[1:])]


_LOOPS = {"scan": _Looking._scan, "while": _Looking._while, "cond": _Looking._cond}


def _in_order(axes: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted(axes))


def _described(equation: Equation) -> str:
    """Returns a product's name with what may be why it takes no adapter."""
    name, params = equation.primitive.name, equation.params
    for count in ("feature_group_count", "batch_group_count"):
        if params.get(count, 1) != 1:
            return f"{name} with {count}={params[count]}"
    return name
