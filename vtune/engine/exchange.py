"""Moves members as a refiner decides; between devices, only those that change their device.

every device takes the parents that it holds
while slots wait for a parent of another device:
    every device sends every other a few of the members that it waits for, in one exchange
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from vtune.engine.layout import AXIS, Layout
from vtune.engine.parallel import REPLICATED, SHARDED, on_devices
from vtune.rng.keys import is_key
from vtune.types import Array, IntArray, PyTree

PART = 8  # an exchange sends at most this part of a device's members


def take_parents(members: PyTree, parents: IntArray[Array, " pop"], layout: Layout) -> PyTree:
    """Returns the member of every slot's parent: `leaf[parents]` of all leaves [pop, ...].

    Nothing is copied where every slot continues itself.
    """
    devices = layout.devices or 1
    if devices == 1 or parents.shape[0] % devices:  # then every device holds all members
        return _unless_all_stay(_take, members, parents)
    leaves, structure = jax.tree.flatten(members)
    words = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves]
    take = functools.partial(_take_from_all, devices)
    # All is decided on the devices: the result of a branch outside may be whole on each of them.
    move = functools.partial(_unless_all_stay, take)
    words = on_devices(move, devices, (SHARDED, REPLICATED), SHARDED)(words, parents)
    taken = [
        jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf)) if is_key(leaf) else data
        for leaf, data in zip(leaves, words, strict=True)
    ]
    return jax.tree.unflatten(structure, taken)


def _unless_all_stay(
    take: Callable[[PyTree, Array], PyTree], members: PyTree, parents: Array
) -> PyTree:
    stay = jnp.all(parents == jnp.arange(parents.shape[0]))
    return lax.cond(stay, lambda members: members, lambda members: take(members, parents), members)


def _take(members: PyTree, parents: Array) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.take(leaf, parents, axis=0), members)


def _take_from_all(devices: int, members: list[Array], parents: Array) -> list[Array]:
    """Does it on one device, which holds a part of the members. All know all parents."""
    each = parents.shape[0] // devices
    most = -(-each // (PART * devices))  # from one device to another, in an exchange
    here, slots = lax.axis_index(AXIS), jnp.arange(parents.shape[0])
    sender, receiver = parents // each, slots // each
    moves = sender != receiver
    number = _numbers_within(sender, devices)
    exchanges = jnp.max(jnp.where(moves, number // most + 1, 0))

    def exchange(i: Array, taken: list[Array]) -> list[Array]:
        column = number - i * most
        now = moves & (column >= 0) & (column < most)
        # Out of range, `devices` and `each`, is what is not written.
        to = jnp.where(now & (sender == here), receiver, devices)
        sent = jnp.zeros((devices, most), int).at[to, column].set(parents % each, mode="drop")
        by = jnp.where(now & (receiver == here), sender, devices)
        place = jnp.full((devices, most), each).at[by, column].set(slots % each, mode="drop")

        def send(leaf: Array, taken: Array) -> Array:
            rows = jnp.take(leaf, sent.ravel(), axis=0)
            arrived = lax.all_to_all(rows, AXIS, split_axis=0, concat_axis=0, tiled=True)
            return taken.at[place.ravel()].set(arrived, mode="drop")

        return list(map(send, members, taken))

    own = lax.dynamic_slice_in_dim(parents, here * each, each)
    return lax.fori_loop(0, exchanges, exchange, _take(members, own % each))


def _numbers_within(sender: Array, devices: int) -> Array:
    """Returns the number of each slot among those of its device with the same sender."""
    same = sender[:, None] == jnp.arange(devices)[None]
    numbers = jnp.cumsum(same.reshape(devices, -1, devices), axis=1) - 1
    return jnp.take_along_axis(numbers.reshape(-1, devices), sender[:, None], axis=1)[:, 0]
