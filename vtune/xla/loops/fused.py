"""A loop over the steps of a few members abreast, on one core of a CPU.

One member after the other stays in a core's cache, but its products are narrow, and every small
kernel is started for it alone. Of a few members at once a product with rows that all of them share
is one wide product,

    rows [batch, in] x weights [in, members * out],

so such weights, with their gradients and moments, are carried and computed with the members side
by side in every row (`beside.py`). All else is as under vmap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from vtune.rng.threefry import key_dtype
from vtune.types import Array, PyTree
from vtune.xla.jaxpr import Equation, evaluate, inner, is_literal, needed, opened
from vtune.xla.loops import flat
from vtune.xla.loops.fused_arrays import CALLS, Beside, Own, is_by_weights, is_shared_product

MOST = 16  # members abreast
CACHE = 3 << 19  # bytes of states that a core's cache holds, beside what a step makes
FEW = 1 << 18  # multiplications of a step that takes longer to start than to compute
NARROWEST = 32  # numbers in a row; of fewer there are too many rows

# Under vmap slower or more to do; other bits than alone; not known there at all.
_NEVER = {"while", "scan", "cond", "conv_general_dilated", "rng_bit_generator", "rng_uniform"}
_NEVER |= {"pure_callback", "ffi_call"}  # other callbacks have effects


def count(state: PyTree, size: int) -> int:
    """How many of `size` members a core takes abreast: a power of two, as many as its cache holds,
    so that at most a seventh of the places is filled up with copies.

    Args:
      state: of one member, as shapes.
    """
    one = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    abreast = MOST
    while abreast > 1:
        places = -(-size // abreast) * abreast
        if 6 * places <= 7 * size and one * abreast <= CACHE:
            return abreast
        abreast //= 2
    return 1


def columns(batches: PyTree) -> list[Array | None]:
    """By leaf batches [steps, batch, ...] as [steps, ..., batch], three axes; None for what has no
    columns. The gradient of a product takes rows so; they are turned once for all members."""
    turn = lambda a: a.reshape(*a.shape[:2], -1).swapaxes(1, 2) if a.ndim > 2 else None
    return [turn(leaf) for leaf in jax.tree.leaves(batches)]


def fori_loop(
    upper: Any,
    body: Callable[[Array, PyTree, PyTree], PyTree],
    start: PyTree,
    batches: PyTree,
    by_column: list[Array | None],
) -> PyTree:
    """From 0 to `upper` `body(i, batch, carried)` of one member, in a vmap over members fused.

    They are stepped side by side where that is faster, and the same: see `_weights`. Elsewhere they
    come one after the other.

    Args:
      upper: the same for all members. batches: likewise, [steps, ...]. by_column: their `columns`.
    """
    leaves, structure = jax.tree.flatten(start)
    static = isinstance(upper, int)
    number = 0 if static else jnp.zeros_like(upper)
    flat_body = lambda i, batch, own: jax.tree.leaves(
        body(i, batch, jax.tree.unflatten(structure, own))
    )
    traced = jax.make_jaxpr(flat_body)(number, _at(batches, 0), leaves)
    limit = lambda bound: upper if static else bound[0]

    # What the body closes over is handed in, since it may be of several members.
    @custom_vmap
    def loop(bound: list[Array], consts: list[Any], rows: Any, leaves: list[Array]) -> list[Array]:
        def one(i: Array, own: list[Array]) -> list[Array]:
            batch = jax.tree.leaves(_at(rows[0], i))
            return evaluate(traced, [i, *batch, *own], consts=consts)

        return flat.fori_loop(0, limit(bound), one, leaves)

    @loop.def_vmap
    def _several(
        members: int, batched: Any, bound: Any, consts: Any, rows: Any, leaves: Any
    ) -> Any:
        of_consts = batched[1]
        every = [True] * len(leaves)
        leaves = [
            leaf if own else jnp.broadcast_to(leaf, (members, *leaf.shape))
            for leaf, own in zip(leaves, batched[3], strict=True)
        ]
        common = [False] * (1 + len(jax.tree.leaves(rows[0])))
        weights = _weights(members, traced, [*of_consts, *common, *every])
        if weights is None:
            flags = [*batched[:3], every]
            return _in_turn(loop.fun, flags, [bound, consts, rows, leaves]), every
        consts = [
            Own(a, a.shape[1:]) if each else a for a, each in zip(consts, of_consts, strict=True)
        ]
        return _together(members, traced, weights, limit(bound), consts, rows, leaves), every

    bound = [] if static else [upper]
    ended = loop(bound, list(traced.consts), (batches, by_column), leaves)
    return jax.tree.unflatten(structure, ended)


def _together(
    members: int,
    traced: Any,
    weights: set[tuple[int, ...]],
    upper: Any,
    consts: Sequence[Any],
    rows: tuple[PyTree, list[Array | None]],
    leaves: Sequence[Array],
) -> list[Array]:
    """The leaves [members, ...] after the loop, all members stepped at once."""
    likes = [var.aval for var in traced.jaxpr.outvars]
    start = Beside(members, likes, weights)
    own = lambda leaf: Own(leaf, leaf.shape[1:])
    begun = [start.held(own(leaf), like) for leaf, like in zip(leaves, likes, strict=True)]
    again = lambda arrays: [
        Own(array, before.shape, before.form) for array, before in zip(arrays, begun, strict=True)
    ]

    def step(i: Array, arrays: Sequence[Array]) -> list[Array]:
        batch = jax.tree.leaves(_at(rows[0], i))
        pairs = [(a, b[i]) for a, b in zip(batch, rows[1], strict=True) if b is not None]
        beside = Beside(members, likes, weights, pairs)
        outs = evaluate(traced, [i, *batch, *again(arrays)], beside.run, consts)
        return [beside.held(out, like).array for out, like in zip(outs, likes, strict=True)]

    ended = lax.fori_loop(0, upper, step, [value.array for value in begun])
    return [start.plain(value) for value in again(ended)]


def _at(batches: PyTree, i: Any) -> PyTree:
    return jax.tree.map(lambda a: a[i], batches)


def _in_turn(f: Callable[..., list[Array]], batched: list[Any], args: list[Any]) -> list[Array]:
    """f of one member after the other."""
    leaves, structure = jax.tree.flatten(args)
    flags = jax.tree.leaves(batched)
    own = [leaf for leaf, each in zip(leaves, flags, strict=True) if each]

    def one(own: list[Array]) -> list[Array]:
        left = iter(own)
        filled = [next(left) if each else leaf for leaf, each in zip(leaves, flags, strict=True)]
        return f(*jax.tree.unflatten(structure, filled))

    return lax.map(one, own)


def _weights(members: int, traced: Any, own: Sequence[bool]) -> set[tuple[int, ...]] | None:
    """Shapes of the matrices that shared rows are multiplied by; None where members had better come
    one after the other. They may be stepped together where a step

        has no branches, callbacks, or random keys whose bits are others under vmap,
        makes no array that would leave the cache,
        does most of its arithmetic in products with what all members share, or has little.

    Args:
      own: by constant and input, whether each member has its own.
    """
    shared, apart = 0.0, 0.0
    weights: set[tuple[int, ...]] = set()
    for equation, flags in _walked(traced, own):
        if equation.effects or any(map(_is_foreign_key, equation.invars)):
            return None
        if not any(flags):
            continue
        if _named(equation) & _NEVER or any(
            _bytes(out) * members > CACHE for out in equation.outvars
        ):
            return None
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, right = (atom.aval.shape for atom in equation.invars)
            out = equation.outvars[0].aval.shape
            cost = math.prod(out) * math.prod(left[axis] for axis in contracted)
            weights |= {right} if is_by_weights(equation, flags) else set()
            if is_shared_product(equation, flags):
                shared += cost
            else:
                apart += cost
    if any(members * width < NARROWEST for _, width in weights):
        return None
    return weights if apart <= shared or shared + apart <= FEW else None


def _named(equation: Equation) -> set[str]:
    """The primitives of an equation and of what it calls; products that it calls are not told apart
    and count as a loop."""
    within = {
        name for body in inner(equation.params) for e in opened(body)[0].eqns for name in _named(e)
    }
    return {equation.primitive.name} | ({"while"} if "dot_general" in within else set()) | within


def _is_foreign_key(atom: Any) -> bool:
    """Whether this is a random key of another kind than threefry's."""
    dtype = atom.aval.dtype
    return bool(jnp.issubdtype(dtype, jax.dtypes.prng_key)) and dtype != key_dtype()


def _bytes(var: Any) -> int:
    return math.prod(var.aval.shape) * var.aval.dtype.itemsize


def _walked(
    traced: Any, own: Sequence[bool]
) -> Generator[tuple[Equation, list[bool]], None, list[bool]]:
    """Equations, within calls too, and of each input whether every member has its own; returns it
    of the results."""
    jaxpr, _ = opened(traced)
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], own, strict=True))
    flags = lambda atoms: [not is_literal(atom) and known[atom] for atom in atoms]
    for equation in needed(jaxpr.eqns, jaxpr.outvars):
        ins, name = flags(equation.invars), equation.primitive.name
        if name in CALLS:
            body = equation.params[CALLS[name]]
            consts = [False] * len(opened(body)[0].constvars)
            outs = yield from _walked(body, [*consts, *ins])
        else:
            yield equation, ins
            outs = [any(ins)] * len(equation.outvars)
        known |= zip(equation.outvars, outs, strict=True)
    return flags(jaxpr.outvars)
