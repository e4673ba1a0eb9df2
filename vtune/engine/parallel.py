"""Lifts the work of one member to a population: by vmap, in a loop, in chunks, over devices.

`over_members` is the only place that chooses between these.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from vtune.engine.layout import AXIS, Layout, mesh, sharding
from vtune.types import Array, PyTree

SHARDED, REPLICATED = PartitionSpec(AXIS), PartitionSpec()  # along the members; on every device


def over_members(
    f: Callable[[PyTree, PyTree], PyTree],
    layout: Layout,
    in_place: bool = False,
    fused: int = 1,
) -> Callable[[PyTree, PyTree], PyTree]:
    """Lifts `f(member, shared)` of one member to `members` with the leading axis pop.

    The last chunk or device is filled up with copies of the first members, whose results are
    dropped.

    Args:
      in_place: members are pairs (what a member has, its state), and f returns the new state.
        Where members run one after the other, it is written where the old one was.
      fused: with `in_place`, how many members run at a time there.
    """
    devices = layout.devices or 1

    def chunked(members: PyTree, shared: PyTree) -> PyTree:
        size = _size(members)
        chunk = min(layout.width or size, size)
        if chunk == size and layout.width != 1:
            return jax.vmap(f, in_axes=(0, None))(members, shared)
        if chunk == 1 and in_place:
            return _in_place_loop(f, fused, members, shared)
        if chunk == 1:
            return lax.map(lambda member: f(member, shared), members)
        padded = _pad(members, -size % chunk)
        chunks = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), padded)
        out = lax.map(lambda part: jax.vmap(f, in_axes=(0, None))(part, shared), chunks)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], out)

    if devices == 1:
        return chunked

    def sharded(members: PyTree, shared: PyTree) -> PyTree:
        size = _size(members)
        padded = _pad(members, -size % devices)
        out = on_devices(chunked, devices, (SHARDED, REPLICATED), SHARDED)(padded, shared)
        return jax.tree.map(lambda a: a[:size], out)

    return sharded


def _in_place_loop(f: Callable[..., PyTree], fused: int, members: PyTree, shared: PyTree) -> PyTree:
    """Returns the new states of members, each written in the place of the old one: the states are
    held once."""
    size = _size(members)
    settings, states = _pad(members, -size % fused)

    def one_member(i: Array, states: PyTree) -> PyTree:
        member = jax.tree.map(lambda leaf: leaf[i], (settings, states))
        put = lambda leaf, new: lax.dynamic_update_index_in_dim(leaf, new, i, 0)
        return jax.tree.map(put, states, f(member, shared))

    def fused_members(i: Array, states: PyTree) -> PyTree:
        first = i * fused
        take = lambda leaf: lax.dynamic_slice_in_dim(leaf, first, fused)
        put = lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, first, 0)
        new = jax.vmap(f, in_axes=(0, None))(jax.tree.map(take, (settings, states)), shared)
        return jax.tree.map(put, states, new)

    if fused == 1:
        return lax.fori_loop(0, size, one_member, states)
    states = lax.fori_loop(0, _size(states) // fused, fused_members, states)
    return jax.tree.map(lambda leaf: leaf[:size], states)


def replicated(f: Callable[..., PyTree], layout: Layout) -> Callable[..., PyTree]:
    """Runs `f` unsharded on every device; refiner decisions are too small to shard."""
    devices = layout.devices or 1
    if devices == 1:
        return f
    return lambda *args: on_devices(f, devices, (REPLICATED,) * len(args), REPLICATED)(*args)


def on_devices(
    f: Callable[..., PyTree],
    devices: int,
    specs: tuple[PartitionSpec, ...],
    out: PartitionSpec,
) -> Callable[..., PyTree]:
    """Wraps `f` in `jax.shard_map`, with one spec for each argument.

    Arrays of size 0 are made inside: handed in, they crash XLA's compiler (jaxlib 0.11).
    """
    devices_mesh = mesh(devices)

    def mapped(*args: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(args)
        leaf_specs = [
            spec for arg, spec in zip(args, specs, strict=True) for _ in jax.tree.leaves(arg)
        ]
        places = [i for i, leaf in enumerate(leaves) if np.size(leaf)]  # of leaves not empty

        def inside(*nonempty: Array) -> PyTree:
            given = dict(zip(places, nonempty, strict=True))
            empty = lambda i: jnp.zeros(
                NamedSharding(devices_mesh, leaf_specs[i]).shard_shape(leaves[i].shape),
                leaves[i].dtype,
            )
            parts = [given[i] if i in given else empty(i) for i in range(len(leaves))]
            return f(*jax.tree.unflatten(structure, parts))

        in_specs = tuple(leaf_specs[i] for i in places)
        call = jax.shard_map(
            inside, mesh=devices_mesh, in_specs=in_specs, out_specs=out, check_vma=False
        )
        return call(*(leaves[i] for i in places))

    return mapped


def dealt_out(members: PyTree, layout: Layout) -> PyTree:
    """Returns members cut up over the devices, filled up with copies of the first ones until all
    devices have equally many, so that nothing moves while they are trained."""
    devices = layout.devices or 1
    if devices == 1:
        return members
    padded = _pad(members, -_size(members) % devices)
    return lax.with_sharding_constraint(padded, sharding(layout, _size(padded)))


def without_copies(members: PyTree, size: int, layout: Layout) -> PyTree:
    """Returns the first `size` of members that were dealt out; whole on every device where they
    cannot be cut into equal parts."""
    if _size(members) == size:
        return members
    return everywhere(jax.tree.map(lambda leaf: leaf[:size], members), layout)


def everywhere(tree: PyTree, layout: Layout) -> PyTree:
    """Returns the same arrays, constrained to be whole on every device."""
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
