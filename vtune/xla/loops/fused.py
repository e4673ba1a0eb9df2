"""A loop over training steps that steps several members together on one core of a CPU.

Members stepped one after the other stay in a core's cache, but their matrix products are narrow,
and every small kernel is launched once for each member. When members share their batches, the
products of shared rows with the members' weights are horizontally fused into one wide product (as
in HFTA, Wang et al. 2021):

    rows [batch, in] x weights [in, members * out]

So weights, gradients and moments are carried with the members packed side by side
(`fused_arrays.py`). All other operations run under vmap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from vtune.rng.threefry import key_dtype
from vtune.types import Array, PyTree
from vtune.xla.jaxpr import Equation, evaluate, opened, subjaxprs
from vtune.xla.loops import flat
from vtune.xla.loops.fused_arrays import (
    FusedInterpreter,
    MemberArray,
    is_forward_product,
    is_shared_product,
)
from vtune.xla.loops.walk import walk

MAX_MEMBERS = 16  # stepped together by one core
CACHE = 3 << 19  # bytes of states that fit a core's cache beside a step's temporary arrays
FEW = 1 << 18  # multiplications of a step whose kernels take longer to launch than to run
MIN_ROW = 32  # numbers in a row of packed weights; shorter rows are slower than separate members

# Primitives that forbid fusion: slower under vmap, different random bits, or no batching rule.
_UNFUSABLE = {"while", "scan", "cond", "conv_general_dilated", "rng_bit_generator", "rng_uniform"}
_UNFUSABLE |= {"pure_callback", "ffi_call"}  # other callbacks are recognised by their effects


def count(state: PyTree, size: int) -> int:
    """Returns how many of `size` members one core steps together.

    It is a power of two for which the states fit the cache, and at most a seventh of the places is
    filled up with copies of members.

    Args:
      state: of one member, as shapes.
    """
    bytes_per_member = sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)
    )
    together = MAX_MEMBERS
    while together > 1:
        places = -(-size // together) * together
        if 6 * places <= 7 * size and bytes_per_member * together <= CACHE:
            return together
        together //= 2
    return 1


def columns(batches: PyTree) -> list[Array | None]:
    """Transposes every leaf of the batches [steps, batch, ...] to [steps, columns, batch].

    The gradient of a product reads its rows in this order, so they are transposed once for all
    members. None stands for a leaf without columns.
    """
    transpose = lambda a: a.reshape(*a.shape[:2], -1).swapaxes(1, 2) if a.ndim > 2 else None
    return [transpose(leaf) for leaf in jax.tree.leaves(batches)]


def fori_loop(
    upper: Any,
    body: Callable[[Array, PyTree, PyTree], PyTree],
    start: PyTree,
    batches: PyTree,
    by_column: list[Array | None],
) -> PyTree:
    """Runs one member's `body(i, batch, carry)` for i from 0 to `upper`, to be used under vmap.

    Members are fused only where that is faster and gives the same results (see `_packed_weights`);
    otherwise they run sequentially.

    Args:
      upper: the same for all members.
      start: the carry before the first step.
      batches: the same for all members, leaves [steps, ...].
      by_column: `columns(batches)`.
    """
    leaves, structure = jax.tree.flatten(start)
    static = isinstance(upper, int)
    first = 0 if static else jnp.zeros_like(upper)
    flat_body = lambda i, batch, carry: jax.tree.leaves(
        body(i, batch, jax.tree.unflatten(structure, carry))
    )
    traced = jax.make_jaxpr(flat_body)(first, _batch(batches, 0), leaves)
    limit = lambda bound: upper if static else bound[0]

    # What the body closes over becomes an argument, since it may differ between members.
    @custom_vmap
    def loop(bound: list[Array], consts: list[Any], rows: Any, leaves: list[Array]) -> list[Array]:
        def step(i: Array, carry: list[Array]) -> list[Array]:
            batch = jax.tree.leaves(_batch(rows[0], i))
            return evaluate(traced, [i, *batch, *carry], consts=consts)

        return flat.fori_loop(0, limit(bound), step, leaves)

    @loop.def_vmap
    def _loop_of_several(
        members: int, batched: Any, bound: Any, consts: Any, rows: Any, leaves: Any
    ) -> Any:
        _, batched_consts, _, batched_leaves = batched
        all_batched = [True] * len(leaves)
        leaves = [
            leaf if is_batched else jnp.broadcast_to(leaf, (members, *leaf.shape))
            for leaf, is_batched in zip(leaves, batched_leaves, strict=True)
        ]
        shared = [False] * (1 + len(jax.tree.leaves(rows[0])))  # the step's number and its batch
        weights = _packed_weights(members, traced, [*batched_consts, *shared, *all_batched])
        if weights is None:
            flags = [*batched[:3], all_batched]
            return _sequentially(loop.fun, flags, [bound, consts, rows, leaves]), all_batched
        consts = [
            MemberArray(const, const.shape[1:]) if is_batched else const
            for const, is_batched in zip(consts, batched_consts, strict=True)
        ]
        leaves = _fused(members, traced, weights, limit(bound), consts, rows, leaves)
        return leaves, all_batched

    bound = [] if static else [upper]
    leaves = loop(bound, list(traced.consts), (batches, by_column), leaves)
    return jax.tree.unflatten(structure, leaves)


def _fused(
    members: int,
    traced: Any,
    weights: set[tuple[int, ...]],
    upper: Any,
    consts: Sequence[Any],
    rows: tuple[PyTree, list[Array | None]],
    leaves: Sequence[Array],
) -> list[Array]:
    """Steps all members together and returns the carry's leaves [members, ...] after the loop."""
    likes = [var.aval for var in traced.jaxpr.outvars]
    outside = FusedInterpreter(members, likes, weights)
    stacked = [MemberArray(leaf, leaf.shape[1:]) for leaf in leaves]
    start = [outside.to_carried(leaf, like) for leaf, like in zip(stacked, likes, strict=True)]
    wrap = lambda arrays: [
        MemberArray(array, before.shape, before.layout)
        for array, before in zip(arrays, start, strict=True)
    ]

    def step(i: Array, arrays: Sequence[Array]) -> list[Array]:
        batch = jax.tree.leaves(_batch(rows[0], i))
        pairs = [(a, b[i]) for a, b in zip(batch, rows[1], strict=True) if b is not None]
        interpreter = FusedInterpreter(members, likes, weights, pairs)
        outs = evaluate(traced, [i, *batch, *wrap(arrays)], interpreter.run, consts)
        return [
            interpreter.to_carried(out, like).array for out, like in zip(outs, likes, strict=True)
        ]

    arrays = lax.fori_loop(0, upper, step, [leaf.array for leaf in start])
    return [outside.stacked(leaf) for leaf in wrap(arrays)]


def _batch(batches: PyTree, i: Any) -> PyTree:
    return jax.tree.map(lambda a: a[i], batches)


def _sequentially(
    f: Callable[..., list[Array]], batched: list[Any], args: list[Any]
) -> list[Array]:
    """Runs f of one member after the other; `batched` says which arguments have a member axis."""
    leaves, structure = jax.tree.flatten(args)
    flags = jax.tree.leaves(batched)
    member_leaves = [leaf for leaf, is_batched in zip(leaves, flags, strict=True) if is_batched]

    def one(member: list[Array]) -> list[Array]:
        rest = iter(member)
        filled = [
            next(rest) if is_batched else leaf
            for leaf, is_batched in zip(leaves, flags, strict=True)
        ]
        return f(*jax.tree.unflatten(structure, filled))

    return lax.map(one, member_leaves)


def _packed_weights(
    members: int, traced: Any, per_member: Sequence[bool]
) -> set[tuple[int, ...]] | None:
    """Returns the shapes of the weight matrices to pack; None if members should run sequentially.

    Members may be fused where a step

        has no branches, callbacks, or random keys whose bits would change under vmap,
        makes no array that is larger than the cache,
        does most of its multiplications with matrices that all members share, or does few.

    Args:
      per_member: for every constant and input, whether it differs between members.
    """
    shared_cost, separate_cost = 0.0, 0.0
    weights: set[tuple[int, ...]] = set()
    for equation, flags in walk(traced, per_member):
        if equation.effects or any(map(_is_foreign_key, equation.invars)):
            return None
        if not any(flags):
            continue
        if _primitives(equation) & _UNFUSABLE or any(
            _bytes(out) * members > CACHE for out in equation.outvars
        ):
            return None
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, right = (atom.aval.shape for atom in equation.invars)
            out = equation.outvars[0].aval.shape
            cost = math.prod(out) * math.prod(left[axis] for axis in contracted)
            weights |= {right} if is_forward_product(equation, flags) else set()
            if is_shared_product(equation, flags):
                shared_cost += cost
            else:
                separate_cost += cost
    if any(members * width < MIN_ROW for _, width in weights):
        return None
    small = shared_cost + separate_cost <= FEW
    return weights if separate_cost <= shared_cost or small else None


def _primitives(equation: Equation) -> set[str]:
    """Returns the primitives of an equation and of what it calls.

    A call that holds a product counts as a loop, since its products are not told apart.
    """
    called = {
        name
        for body in subjaxprs(equation.params)
        for inner in opened(body)[0].eqns
        for name in _primitives(inner)
    }
    return {equation.primitive.name} | ({"while"} if "dot_general" in called else set()) | called


def _is_foreign_key(atom: Any) -> bool:
    """Whether this is a random key of another kind than threefry's."""
    dtype = atom.aval.dtype
    return bool(jnp.issubdtype(dtype, jax.dtypes.prng_key)) and dtype != key_dtype()


def _bytes(var: Any) -> int:
    return math.prod(var.aval.shape) * var.aval.dtype.itemsize
