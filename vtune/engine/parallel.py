"""Lifts the work of one member to a population: vmap, one by one, in chunks, over devices."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from vtune.engine.layout import AXIS, Layout, mesh, sharding
from vtune.types import Array, PyTree

_CUT, _WHOLE = PartitionSpec(AXIS), PartitionSpec()  # along the members; on every device


def over_members(
    f: Callable[[PyTree, PyTree], PyTree],
    layout: Layout,
    in_place: bool = False,
    fused: int = 1,
) -> Callable[[PyTree, PyTree], PyTree]:
    """Lifts `f(member, shared)` of ONE member to `members` with the leading axis pop.

    Members that do not fill the last chunk or device are padded with copies of the first ones,
    whose results are dropped.

    Args:
      in_place: members are pairs (what a member has, its state), and f returns the new state: one
        member after the other, it is written where the old one was.
      fused: with `in_place`, where members come one after the other: so many at a time.
    """
    devices = layout.devices or 1

    def chunked(members: PyTree, shared: PyTree) -> PyTree:
        size = _size(members)
        chunk = min(layout.width or size, size)
        if chunk == size and layout.width != 1:
            return jax.vmap(f, in_axes=(0, None))(members, shared)
        if chunk == 1 and in_place:
            return _in_turn(f, fused, members, shared)
        if chunk == 1:
            return lax.map(lambda member: f(member, shared), members)
        padded = _pad(members, -size % chunk)
        split = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), padded)
        out = lax.map(lambda part: jax.vmap(f, in_axes=(0, None))(part, shared), split)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], out)

    if devices == 1:
        return chunked

    def sharded(members: PyTree, shared: PyTree) -> PyTree:
        size = _size(members)
        padded = _pad(members, -size % devices)
        out = _on_devices(chunked, devices, (_CUT, _WHOLE), _CUT)(padded, shared)
        return jax.tree.map(lambda a: a[:size], out)

    return sharded


def _in_turn(f: Callable[..., PyTree], fused: int, members: PyTree, shared: PyTree) -> PyTree:
    """The new states of members, each in the old one's place: one copy of them all is enough."""
    size = _size(members)
    own, state = _pad(members, -size % fused)

    def one(i: Array, state: PyTree) -> PyTree:
        member = jax.tree.map(lambda leaf: leaf[i], (own, state))
        put = lambda whole, new: lax.dynamic_update_index_in_dim(whole, new, i, 0)
        return jax.tree.map(put, state, f(member, shared))

    def some(i: Array, state: PyTree) -> PyTree:
        first = i * fused
        take = lambda leaf: lax.dynamic_slice_in_dim(leaf, first, fused)
        put = lambda whole, new: lax.dynamic_update_slice_in_dim(whole, new, first, 0)
        new = jax.vmap(f, in_axes=(0, None))(jax.tree.map(take, (own, state)), shared)
        return jax.tree.map(put, state, new)

    if fused == 1:
        return lax.fori_loop(0, size, one, state)
    done = lax.fori_loop(0, _size(state) // fused, some, state)
    return jax.tree.map(lambda leaf: leaf[:size], done)


def replicated(f: Callable[..., PyTree], layout: Layout) -> Callable[..., PyTree]:
    """f computed by every device on its own, whole: what a refiner does is too small to be cut
    up among devices."""
    devices = layout.devices or 1
    if devices == 1:
        return f
    return lambda *args: _on_devices(f, devices, (_WHOLE,) * len(args), _WHOLE)(*args)


def _on_devices(
    f: Callable[..., PyTree],
    devices: int,
    specs: tuple[PartitionSpec, ...],
    out: PartitionSpec,
) -> Callable[..., PyTree]:
    """`jax.shard_map` with a spec for every argument of f. Arrays without a number in them are made
    inside: handed in, they crash XLA's compiler (jaxlib 0.11)."""
    over = mesh(devices)

    def mapped(*args: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(args)
        own = [spec for arg, spec in zip(args, specs, strict=True) for _ in jax.tree.leaves(arg)]
        places = [i for i, leaf in enumerate(leaves) if np.size(leaf)]

        def inside(*full: Array) -> PyTree:
            given = dict(zip(places, full, strict=True))
            empty = lambda i: jnp.zeros(
                NamedSharding(over, own[i]).shard_shape(leaves[i].shape), leaves[i].dtype
            )
            parts = [given[i] if i in given else empty(i) for i in range(len(leaves))]
            return f(*jax.tree.unflatten(structure, parts))

        in_specs = tuple(own[i] for i in places)
        call = jax.shard_map(inside, mesh=over, in_specs=in_specs, out_specs=out, check_vma=False)
        return call(*(leaves[i] for i in places))

    return mapped


def everywhere(tree: PyTree, layout: Layout) -> PyTree:
    """The same arrays, whole on every device."""
    place = sharding(layout, None)
    return tree if place is None else lax.with_sharding_constraint(tree, place)


def _size(members: PyTree) -> int:
    return jax.tree.leaves(members)[0].shape[0]


def _pad(members: PyTree, extra: int) -> PyTree:
    if extra == 0:
        return members
    size = _size(members)
    index = jnp.arange(size + extra) % size
    return jax.tree.map(lambda a: jnp.take(a, index, axis=0), members)
