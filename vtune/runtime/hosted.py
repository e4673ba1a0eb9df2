"""What lies over several processes, brought to their hosts. All processes must ask together."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune import target
from vtune.caches import bounded_cache
from vtune.engine.layout import AXIS, Layout, sharding
from vtune.engine.parallel import REPLICATED, SHARDED, on_devices
from vtune.engine.population import Population
from vtune.rng.keys import from_words, is_key
from vtune.runtime import processes
from vtune.types import PyTree

BLOCK = 64 << 20  # bytes of states that go to every device at a time


def is_here(tree: PyTree) -> bool:
    """Whether this process has all of these arrays."""
    return all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(tree))


def with_small_parts(carry: PyTree, layout: Layout) -> PyTree:
    """Returns the carry with all but the members' states as NumPy arrays, on every process; as it
    is where there is one process. Nothing is sent where a program left them whole everywhere."""
    if not processes.several():
        return carry
    bare = tuple(cohort._replace(population=_stateless(cohort.population)) for cohort in carry)
    leaves, structure = jax.tree.flatten(bare)
    if all(leaf.is_fully_replicated for leaf in leaves):
        words = [np.array(_words(leaf)) for leaf in leaves]  # copies: the carry will be donated
    else:
        words = _everywhere(sharding(layout, None))(leaves)
    small = jax.tree.unflatten(structure, map(_as_numpy, words, leaves))
    return tuple(
        cohort._replace(population=_with_states(cohort.population, whole.population))
        for cohort, whole in zip(small, carry, strict=True)
    )


def on_first_host(carry: PyTree, layout: Layout) -> PyTree:
    """Returns the carry as NumPy arrays in the first process, and in others without states.

    Args:
      carry: see `with_small_parts`.
    """
    first, cohorts = target.is_first_process(), []
    for cohort in carry:
        population, best = cohort.population, cohort.population.best
        if best is not None and best.state is not None:
            best = best._replace(state=all_members(best.state, layout, first))
        state = all_members(population.state, layout, first)
        cohorts.append(cohort._replace(population=population._replace(state=state, best=best)))
    return tuple(cohorts)


def _stateless(population: Population) -> Population:
    best = population.best
    return population._replace(state=None, best=best and best._replace(state=None))


def _with_states(small: Population, whole: Population) -> Population:
    best = small.best and small.best._replace(state=whole.best.state)
    return small._replace(state=whole.state, best=best)


@bounded_cache(8)
def _everywhere(place: Any) -> Any:
    """A jitted function that returns arrays whole on every device, keys as words."""
    return jax.jit(lambda leaves: list(map(_words, leaves)), out_shardings=place)


def _words(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def _as_numpy(words: Any, leaf: Any) -> Any:
    words = np.asarray(words)
    return from_words(words, leaf) if is_key(leaf) else words


def one_member(state: PyTree, slot: int, layout: Layout) -> PyTree:
    """Returns the state in one slot of a population, leaves [1, ...], on every process."""
    leaves, structure = jax.tree.flatten(state)
    if all(leaf.is_fully_replicated for leaf in leaves):
        here = [_words(leaf).addressable_data(0) for leaf in leaves]
        rows = [np.asarray(leaf) for leaf in _row(here, np.int32(slot))]
    else:
        each = leaves[0].shape[0] // (layout.devices or 1)
        device, place = divmod(slot, each)
        block = _block_size(leaves, layout)
        first = min(place, each - block)
        found = _block(layout, block)(leaves, np.int32(first))
        row = device * block + place - first
        rows = [np.asarray(leaf)[row : row + 1] for leaf in found]
    made = [
        from_words(row, jax.eval_shape(lambda leaf: leaf[:1], leaf)) if is_key(leaf) else row
        for row, leaf in zip(rows, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, made)


@jax.jit
def _row(leaves: list[Any], slot: Any) -> list[Any]:
    return [lax.dynamic_slice_in_dim(leaf, slot, 1) for leaf in leaves]


def all_members(state: PyTree, layout: Layout, keep: bool) -> PyTree:
    """Returns the states of a population on the host, keys as they are.

    They come in blocks of about 64 MiB, so that no device has to hold them all.

    Args:
      keep: whether this process wants them; else it takes part, and gets None.
    """
    leaves, structure = jax.tree.flatten(state)
    if all(getattr(leaf, "is_fully_addressable", True) for leaf in leaves):
        return state
    if all(leaf.is_fully_replicated for leaf in leaves):
        # Copies: the carry is donated to the next segment.
        host = [np.array(_words(leaf)) for leaf in leaves] if keep else None
    else:
        host = _in_blocks(leaves, layout, keep)
    if host is None:
        return None
    made = [
        from_words(words, leaf) if is_key(leaf) else words
        for words, leaf in zip(host, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, made)


def _in_blocks(leaves: list[Any], layout: Layout, keep: bool) -> list[np.ndarray] | None:
    devices = layout.devices or 1
    each, block = leaves[0].shape[0] // devices, _block_size(leaves, layout)
    host: list[np.ndarray] | None = None
    for first in _starts(each, block):
        found = _block(layout, block)(leaves, np.int32(first))
        if not keep:
            jax.block_until_ready(found)
            continue
        if host is None:
            host = [np.empty((devices, each, *leaf.shape[1:]), leaf.dtype) for leaf in found]
        for whole, part in zip(host, found, strict=True):
            whole[:, first : first + block] = np.asarray(part).reshape(
                devices, block, *part.shape[1:]
            )
    if host is None:
        return None
    return [whole.reshape(devices * each, *whole.shape[2:]) for whole in host]


def _starts(each: int, block: int) -> Iterator[int]:
    """Yields where blocks begin; the last one ends where the members do."""
    for first in range(0, each, block):
        yield min(first, each - block)


def _block_size(leaves: list[Any], layout: Layout) -> int:
    """Returns how many members of each device go in one block."""
    members = leaves[0].shape[0]
    one = sum(leaf.nbytes for leaf in leaves) // members
    each = members // (layout.devices or 1)
    return max(1, min(each, BLOCK // max(1, one * (layout.devices or 1))))


@bounded_cache(8)
def _block(layout: Layout, block: int) -> Any:
    """A jitted function (leaves [pop, ...], first) -> members [first, first + block) of every
    device, leaves [devices * block, ...], whole on all."""

    def take(leaves: list[Any], first: Any) -> list[Any]:
        def own(first: Any, *leaves: Any) -> list[Any]:
            take = functools.partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=block)
            return [lax.all_gather(take(leaf), AXIS, tiled=True) for leaf in leaves]

        words = list(map(_words, leaves))
        specs = (REPLICATED, *[SHARDED] * len(words))
        return on_devices(own, layout.devices or 1, specs, REPLICATED)(jnp.asarray(first), *words)

    return jax.jit(take)
