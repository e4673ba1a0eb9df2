"""Arrays that lie over several processes, brought whole to the host of each.

What a process holds of them goes to the others as bytes, in parts of one size, so that no program
is compiled for an array's shape. All processes must ask together, and for the same arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from vtune.runtime import processes

AT_ONCE = 64 << 20  # bytes that a host holds beside the arrays that it makes; more of a larger one


class Part(NamedTuple):
    """Entries of an array that one device holds and its process sends.

    Attributes:
      array: which of them. entries: a slice with its ends for each axis. size: bytes.
      device: of those that have the same entries the first.
    """

    array: int
    entries: tuple[slice, ...]
    size: int
    device: Any


def gathered(
    arrays: Sequence[jax.Array], keep: bool = True, row: int | None = None
) -> list[np.ndarray] | None:
    """Returns the numbers of arrays on the host, in memory of their own.

    Args:
      keep: whether this process wants them; else it takes part, and gets None.
      row: the one of the first axis that is wanted, which then has a size of 1; None for all.
    """
    first = slice(None) if row is None else slice(row, row + 1)
    shapes = [array.shape if row is None else (1, *array.shape[1:]) for array in arrays]
    made = [
        np.empty(shape if keep else 0, a.dtype) for shape, a in zip(shapes, arrays, strict=True)
    ]
    apart = []
    for number, array in enumerate(arrays):
        if not array.is_fully_replicated:
            apart += _parts(number, array, row)
        elif keep:
            here = np.asarray(array.addressable_data(0))
            made[number][...] = here if row is None else here[first]
    for some in _groups(apart):
        received = processes.told_bytes(_sent(arrays, some), _totals(some), keep)
        begins = [0] * jax.process_count()
        for part in some if keep else ():
            sender = part.device.process_index
            found = received[sender][begins[sender] :][: part.size].view(made[part.array].dtype)
            axis, *others = part.entries
            place = made[part.array][(axis if row is None else slice(None), *others)]
            place[...] = found.reshape(place.shape)
            begins[sender] += part.size
    return made if keep else None


def _parts(number: int, array: jax.Array, row: int | None) -> list[Part]:
    """Returns what devices send of an array, each entry once, in an order that all agree on."""
    seen: dict[tuple[tuple[int, int], ...], Part] = {}
    devices: Any = array.sharding.devices_indices_map(array.shape)
    for device in sorted(devices, key=lambda device: (device.process_index, device.id)):
        bounds = tuple(
            axis.indices(size)[:2] for axis, size in zip(devices[device], array.shape, strict=True)
        )
        if row is not None:
            if not bounds[0][0] <= row < bounds[0][1]:
                continue
            bounds = ((row, row + 1), *bounds[1:])
        size = math.prod(stop - start for start, stop in bounds) * array.dtype.itemsize
        entries = tuple(slice(*pair) for pair in bounds)
        seen.setdefault(bounds, Part(number, entries, size, device))
    return list(seen.values())


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yields parts that go together: as many as `AT_ONCE` holds, or one."""
    group: list[Part] = []
    held = 0
    for part in parts:
        if group and held + part.size > AT_ONCE:
            yield group
            group, held = [], 0
        group.append(part)
        held += part.size
    if group:
        yield group


def _totals(parts: Sequence[Part]) -> list[int]:
    """Returns the bytes that each process sends."""
    totals = [0] * jax.process_count()
    for part in parts:
        totals[part.device.process_index] += part.size
    return totals


def _sent(arrays: Sequence[jax.Array], parts: Sequence[Part]) -> np.ndarray:
    """Returns the bytes that this process sends."""
    mine = [part for part in parts if part.device.process_index == jax.process_index()]
    return np.concatenate([np.empty(0, np.uint8), *(_bytes(arrays[p.array], p) for p in mine)])


def _bytes(array: jax.Array, part: Part) -> np.ndarray:
    shard = next(one for one in array.addressable_shards if one.device == part.device)
    starts = [axis.indices(size)[0] for axis, size in zip(shard.index, array.shape, strict=True)]
    own = [slice(i.start - at, i.stop - at) for i, at in zip(part.entries, starts, strict=True)]
    return np.ascontiguousarray(np.asarray(shard.data)[tuple(own)]).reshape(-1).view(np.uint8)
