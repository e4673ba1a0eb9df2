"""Puts what a program is called with onto its devices, explicitly (`jax.transfer_guard`)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vtune import target
from vtune.engine.carry import Arguments
from vtune.engine.layout import Layout, sharding
from vtune.rng.keys import is_key
from vtune.runtime import processes
from vtune.types import PyTree


def placed_arguments(arguments: Arguments, layout: Layout) -> Arguments:
    """Returns the arguments on all devices of the layout, once for all calls.

    The devices of a CPU share the one copy in memory: an array made of a view of another's
    memory is not copied.
    """
    place = sharding(layout, None)
    shared = place is not None and target.platform() == "cpu"
    if processes.several():
        return placed(arguments, jax.tree.map(lambda _: place, arguments))
    leaves, structure = jax.tree.flatten(arguments)
    # Packed types are placed by the call: JAX puts them in another layout than programs take.
    numbers = [i for i, leaf in enumerate(leaves) if not _is_packed(leaf)]
    moved = jax.device_put([_view(leaves[i]) if shared else leaves[i] for i in numbers], place)
    for i, leaf in zip(numbers, moved, strict=True):
        leaves[i] = leaf
    return jax.tree.unflatten(structure, leaves)


def placed_number(number: int, layout: Layout) -> Any:
    """Returns a number of a round on all devices of the layout."""
    place = sharding(layout, None)
    if processes.several():
        return placed(np.int32(number), place)
    return jax.device_put(np.int32(number), place)


def placed(tree: PyTree, places: PyTree) -> PyTree:
    """Returns arrays that this host has whole as `places`, their shardings, say.

    Over several processes each puts its own part on its devices, and nothing is sent or compared.
    """
    if not processes.several():
        return jax.device_put(tree, places)
    return jax.tree.map(_placed_here, tree, places)


def _placed_here(leaf: Any, place: Any) -> Any:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf  # it is there already
    if is_key(leaf):
        words = np.asarray(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(_placed_here(words, place), impl=jax.random.key_impl(leaf))
    aligned = _view(leaf) if place.is_fully_replicated and not _is_packed(leaf) else leaf
    host = np.asarray(aligned)
    parts = place.addressable_devices_indices_map(host.shape)
    own = [jax.device_put(host[index], device) for device, index in parts.items()]
    return jax.make_array_from_single_device_arrays(host.shape, place, own)


def _view(leaf: Any) -> Any:
    if is_key(leaf):
        return leaf
    # XLA aligns its own arrays as it wants them aligned; those of NumPy it would copy.
    aligned = leaf if isinstance(leaf, jax.Array) else jax.device_put(leaf)
    return np.asarray(aligned)


def _is_packed(leaf: Any) -> bool:
    """Whether several numbers may share a byte, as those of int4: NumPy holds them apart."""
    dtype: Any = getattr(leaf, "dtype", None)
    return getattr(dtype, "isbuiltin", 1) != 1 and dtype.itemsize == 1
