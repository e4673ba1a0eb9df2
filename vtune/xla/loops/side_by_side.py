"""A loop over training steps under vmap: all its members in every kernel.

Under vmap a loop carries every array with the members' axis in front. Where members share their
batches, the product of the shared rows with the members' weights is one wide product (as in HFTA,
Wang et al. 2021):

    rows [batch, in] x weights [in, members, out]

So such weights, their gradients and the optimizer's moments are carried with the members' axis in
that place, and nothing is turned in a step. On an H200 this moves 4.97 MB a member-step in place of
6.98, for 256 members of an MLP 784-128-128-10 with AdamW (docs/benchmarks/chips).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from vtune import target
from vtune.types import Array, PyTree
from vtune.xla.jaxpr import Equation, evaluate
from vtune.xla.loops import flat
from vtune.xla.loops.walk import dimension_numbers, walk
from vtune.xla.ops.rewrite import evaluate_for_several

ON_CHIP = 2**27  # bytes of a TPU v5e's own memory
LEAST_STEPS = 8  # that a copy of all weights and moments pays for, which takes as long as one

# (steps as a list of none or one, what the body closes over, batches, the carry's leaves)
_Loop = Callable[[list[Array], list[Any], PyTree, list[Array]], list[Array]]


def fori_loop(
    upper: Any, body: Callable[[Array, PyTree, PyTree], PyTree], start: PyTree, batches: PyTree
) -> PyTree:
    """Runs one training's `body(i, batch, carry)` for i from 0 to `upper`, to be used under vmap.

    Several vmaps, such as one over members and one over their seeds, become one.

    Args:
      upper: an int, or an array.
      start: the carry before the first step.
      batches: leaves [steps, ...].
    """
    leaves, structure = jax.tree.flatten(start)
    static = upper if isinstance(upper, int) else None
    first = 0 if static is not None else jnp.zeros_like(upper)
    flat_body = lambda i, batch, carry: jax.tree.leaves(
        body(i, batch, jax.tree.unflatten(structure, carry))
    )
    traced = jax.make_jaxpr(flat_body)(first, _batch(batches, 0), leaves)
    # What the body closes over becomes an argument, since it may differ between members.
    bound = [] if static is not None else [upper]
    leaves = _loop_of_one(traced, static)(bound, list(traced.consts), batches, leaves)
    return jax.tree.unflatten(structure, leaves)


def _loop_of_one(traced: Any, static: int | None) -> _Loop:
    """Returns the loop of one training, which becomes a loop of several under vmap.

    Args:
      traced: the body, of flat arguments. static: how many steps; None where that is an argument.
    """

    @custom_vmap
    def loop(bound: list[Array], consts: list[Any], rows: Any, leaves: list[Array]) -> list[Array]:
        step = lambda i, carry: _step(traced, consts, rows, i, carry)
        return flat.fori_loop(0, _steps(static, bound), step, leaves)

    @loop.def_vmap
    def _batched(
        members: int, batched: Any, bound: Any, consts: Any, rows: Any, leaves: Any
    ) -> Any:
        if _has_own_batches(batched):
            run = jax.vmap(loop.fun, in_axes=_axes(batched), axis_size=members)
            return run(bound, consts, rows, leaves), [True] * len(leaves)
        leaves = _of_each(members, batched[3], leaves)
        run = _loop_of_several(traced, static, members, tuple(batched[1]))
        return run(bound, consts, rows, leaves), [True] * len(leaves)

    return loop


def _loop_of_several(
    traced: Any, static: int | None, members: int, own_consts: tuple[bool, ...]
) -> _Loop:
    """Returns the loop of several trainings, leaves [members, ...], that share their batches.

    Args:
      own_consts: for every constant of the body, whether it differs between members.
    """
    axes = _members_axes(traced, own_consts)
    const_axes = [0 if own else None for own in own_consts]
    several = jax.vmap(
        lambda consts, rows, i, carry: _step(traced, consts, rows, i, carry, evaluate_for_several),
        in_axes=(const_axes, None, None, axes),
        out_axes=axes,
        axis_size=members,
    )

    # Folds get no copies: bytes from main memory and temporary memory grew.
    def plainly(
        bound: list[Array], consts: list[Any], rows: Any, leaves: list[Array], copied: bool = False
    ) -> list[Array]:
        start = [jnp.moveaxis(leaf, 0, axis) for leaf, axis in zip(leaves, axes, strict=True)]
        if copied and target.platform() == "tpu" and _fits_on_chip(start, axes, static):
            start = [_copied(leaf) for leaf in start]
        step = lambda i, carry: several(consts, rows, i, carry)
        end = flat.fori_loop(0, _steps(static, bound), step, start)
        return [jnp.moveaxis(leaf, axis, 0) for leaf, axis in zip(end, axes, strict=True)]

    loop = custom_vmap(functools.partial(plainly, copied=True))

    @loop.def_vmap
    def _batched(more: int, batched: Any, bound: Any, consts: Any, rows: Any, leaves: Any) -> Any:
        if _has_own_batches(batched):
            run: _Loop = jax.vmap(plainly, in_axes=_axes(batched), axis_size=more)
            return run(bound, consts, rows, leaves), [True] * len(leaves)
        merge = lambda leaf: leaf.reshape(more * members, *leaf.shape[2:])
        merged = []
        for const, outer, inner in zip(consts, batched[1], own_consts, strict=True):
            if outer and not inner:
                const = jnp.repeat(const[:, None], members, axis=1)
            elif inner and not outer:
                (const,) = _of_each(more, [False], [const])
            merged.append(merge(const) if outer or inner else const)
        own = tuple(outer or inner for outer, inner in zip(batched[1], own_consts, strict=True))
        run = _loop_of_several(traced, static, more * members, own)
        end = run(bound, merged, rows, list(map(merge, _of_each(more, batched[3], leaves))))
        return [leaf.reshape(more, members, *leaf.shape[1:]) for leaf in end], [True] * len(end)

    return loop


def _fits_on_chip(leaves: list[Array], axes: list[int], static: int | None) -> bool:
    """Whether weights that are wide fit into a TPU's own memory, where XLA could keep them from
    step to step, and there are enough steps to pay for it."""
    wide = [leaf.nbytes for leaf, axis in zip(leaves, axes, strict=True) if axis]
    return bool(wide) and max(wide) <= ON_CHIP and (static is None or static >= LEAST_STEPS)


def _copied(leaf: Array) -> Array:
    """Returns a copy, which is the loop's own.

    Of such arrays XLA keeps what fits on the chip for all steps; what a loop around this one
    carries lies in main memory, and is read from there in every step.
    """
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    always = lax.optimization_barrier(jnp.array(True))  # or XLA would see that it is a copy
    return jnp.where(always, leaf, jnp.zeros_like(leaf))


def _members_axes(traced: Any, own_consts: Sequence[bool]) -> list[int]:
    """Returns by leaf of the carry where its members' axis goes: in front, or before the outputs
    of weights that rows shared by all are multiplied with."""
    carried = [var.aval for var in traced.jaxpr.outvars]
    shared = [False] * (len(traced.jaxpr.invars) - len(carried))  # the step's number, its batch
    per_member = [*own_consts, *shared, *[True] * len(carried)]
    weights = {
        equation.invars[1].aval.shape
        for equation, flags in walk(traced, per_member)
        if _is_wide_product(equation, flags)
    }
    return [1 if like.shape in weights else 0 for like in carried]


def _is_wide_product(equation: Equation, per_member: Sequence[bool]) -> bool:
    """Whether this is a product of shared rows [..., in] with a member's weights [in, out]."""
    if equation.primitive.name != "dot_general" or list(per_member) != [False, True]:
        return False
    rows, weights = (atom.aval for atom in equation.invars)
    return weights.ndim == 2 and dimension_numbers(equation) == (
        ((rows.ndim - 1,), (0,)),
        ((), ()),
    )


def _step(
    traced: Any,
    consts: Any,
    rows: Any,
    i: Array,
    carry: list[Array],
    run: Callable[..., list[Array]] = evaluate,
) -> list[Array]:
    return run(traced, [i, *jax.tree.leaves(_batch(rows, i)), *carry], consts=consts)


def _steps(static: int | None, bound: list[Array]) -> Any:
    return bound[0] if static is None else static


def _has_own_batches(batched: Any) -> bool:
    """Whether members have steps or batches of their own, as folds do."""
    return any(jax.tree.leaves((batched[0], batched[2])))


def _axes(batched: Any) -> Any:
    return jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(batched))


def _of_each(members: int, batched: Sequence[bool], leaves: Sequence[Array]) -> list[Array]:
    """Returns the leaves with the members' axis in front; those that all share are repeated."""
    return [
        leaf if is_batched else jnp.broadcast_to(leaf, (members, *jnp.shape(leaf)))
        for leaf, is_batched in zip(leaves, batched, strict=True)
    ]


def _batch(batches: PyTree, i: Any) -> PyTree:
    return jax.tree.map(lambda a: a[i], batches)
