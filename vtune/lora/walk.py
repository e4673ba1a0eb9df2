"""Follows weights through a traced model to where they are used.

The same walk is taken twice: over shapes, where it notes the uses (`uses.py`), and over arrays,
where it adds the adapters' products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
from jax import lax

from vtune.lora.products import USES, Use, added_to
from vtune.lora.tagged import LAYOUTS, Tagged, stacked, taken
from vtune.types import Array
from vtune.xla import branches
from vtune.xla.branches import Walk
from vtune.xla.jaxpr import Equation, bind, evaluate, scan_counts


class Visitor(Protocol):
    """What a walk does on its way."""

    def run(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        """Returns the outputs of an equation without weights that are followed."""
        ...

    def use(self, tagged: Tagged, use: Use | None, equation: Equation, ins: list[Any]) -> Any:
        """Returns the output of a product; `use` is None for one that takes no adapter."""
        ...

    def lost(self, tagged: Tagged, primitive: str) -> None:
        """Is told of a weight that reaches something else."""
        ...

    def call(self, walk: Walk, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        """Returns the outputs of an equation that calls traced functions."""
        ...


def followed(visitor: Visitor, closed: Any, args: Sequence[Any]) -> list[Any]:
    """Returns the outputs of a traced function some of whose arguments are `Tagged`."""
    outs = _walk(visitor, closed, args)
    return [_untagged(visitor, out, "the model's outputs") for out in outs]


def _walk(visitor: Visitor, closed: Any, args: Sequence[Any]) -> list[Any]:
    return evaluate(closed, args, functools.partial(_equation, visitor))


def _equation(visitor: Visitor, equation: Equation, ins: list[Any]) -> Sequence[Any]:
    places = [place for place, one in enumerate(ins) if isinstance(one, Tagged)]
    if not places:
        return visitor.run(equation, ins)
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return visitor.call(functools.partial(_walk, visitor), equation, ins)
    if len(places) == 1:
        tagged = ins[places[0]]
        if name in LAYOUTS and len(ins) == 1:
            [value] = visitor.run(equation, [tagged.value])
            moved = LAYOUTS[name](tagged, value, params)
            if moved is not None:
                return [moved]
        elif name in USES:
            return [visitor.use(tagged, USES[name](tagged, places[0], params), equation, ins)]
    return visitor.run(equation, [_untagged(visitor, one, name) for one in ins])


def _untagged(visitor: Visitor, one: Any, primitive: str) -> Any:
    if not isinstance(one, Tagged):
        return one
    visitor.lost(one, primitive)
    return one.value


class Adding:
    """A walk over arrays that adds the adapters' products.

    Args:
      drop: (name of the weight, x) -> x after dropout.
    """

    def __init__(self, drop: Callable[[str, Array], Array]):
        self._drop = drop

    def run(self, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        return bind(equation, ins)

    def use(self, tagged: Tagged, use: Use | None, equation: Equation, ins: list[Any]) -> Any:
        assert use is not None, equation.primitive.name
        weight = next(place for place, one in enumerate(ins) if one is tagged)
        whole = [tagged.value if place == weight else one for place, one in enumerate(ins)]
        [product] = bind(equation, whole)
        x = ins[1 - weight]
        x = x if use.lookup else self._drop(tagged.name, x)
        with jax.named_scope("lora"):
            return product + added_to(tagged, use, x).astype(product.dtype)

    def lost(self, tagged: Tagged, primitive: str) -> None:
        raise AssertionError(f"{tagged.name} reaches {primitive}")

    def call(self, walk: Walk, equation: Equation, ins: list[Any]) -> Sequence[Any]:
        return CALLS[equation.primitive.name](walk, ins, equation.params)


# equations that call traced functions -----------------------------------------------------------


def _inlined(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    return walk(called(params), ins)


def called(params: Any) -> Any:
    """Returns the traced function that an equation calls once."""
    return params.get("jaxpr", params.get("call_jaxpr"))


def _remat(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    body = jax.checkpoint(
        lambda *args: walk(params["jaxpr"], args),
        prevent_cse=params["prevent_cse"],
        policy=params["policy"],
    )
    return body(*ins)


def _scan(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    consts, carried = scan_counts(params)
    constants, start, xs = ins[:consts], ins[consts : consts + carried], ins[consts + carried :]
    xs = [stacked(x) if isinstance(x, Tagged) else x for x in xs]

    def body(carry: list[Any], x: list[Any]) -> Any:
        x = [taken(one, one.value) if isinstance(one, Tagged) else one for one in x]
        outs = walk(params["jaxpr"], [*constants, *carry, *x])
        return outs[:carried], outs[carried:]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    end, ys = lax.scan(body, start, xs, **options)
    return [*end, *ys]


CALLS: dict[str, Callable[[Walk, list[Any], Any], Sequence[Any]]] = {
    "jit": _inlined,
    "closed_call": _inlined,
    "remat2": _remat,
    "checkpoint": _remat,
    "scan": _scan,
    "cond": branches.cond,
    "while": branches.while_loop,
}
