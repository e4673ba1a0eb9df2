"""The layout of members over the machine: its devices, and how many train side by side on one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vtune import target
from vtune.validation import is_whole

AXIS = "pop"


@dataclass(frozen=True)
class Layout:
    """How members are laid over the machine. It never changes a result beyond rounding.

    Args:
      chunk: how many members one vmap holds; chunks run one after the other. A number (1 is a
        plain loop); None for all of a device's members at once; "fit" for as many as fit into
        memory, for which up to two programs are compiled and thrown away; "auto" for one after
        the other on a CPU, or a few fused ones that a core's cache holds, and "fit" elsewhere.
      devices: how many devices share the population; None for all of them, those of all processes
        under `jax.distributed`.
      memory: bytes that the program may take: on a CPU in all, elsewhere on each device. None
        for what is free.

    Raises:
      ValueError: on any other value.
    """

    chunk: int | str | None = "auto"
    devices: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name in ("chunk", "devices", "memory"):
            value = getattr(self, name)
            if name == "chunk" and value in ("auto", "fit"):
                continue
            if value is not None and (not is_whole(value) or value < 1):
                also = ', "auto", "fit"' if name == "chunk" else ""
                raise ValueError(
                    f"Layout: {name}={value!r} must be a whole number, 1 or more{also}, or None"
                )

    @property
    def width(self) -> int | None:
        """Members of one vmap; None for all of a device's. "auto", which is left on a CPU only,
        is one after the other, apart from the members that are trained fused."""
        if self.chunk == "auto":
            return 1
        return self.chunk if isinstance(self.chunk, int) else None


SHORT = {"auto": Layout(), "fit": Layout("fit"), "vmap": Layout(None), "map": Layout(1)}


def resolve_layout(layout: Any, size: int) -> Layout:
    """Returns the layout meant by None (the platform's default), a short name, a chunk size or a
    Layout.

    Args:
      size: members of the largest cohort; no more devices are used, but one of every process.

    Raises:
      TypeError, ValueError: on anything else, more devices than there are, or fewer than processes.
    """
    if layout is None:
        layout = Layout()
    elif is_whole(layout):
        layout = Layout(int(layout))
    elif isinstance(layout, str) and layout in SHORT:
        layout = SHORT[layout]
    elif not isinstance(layout, Layout):
        raise TypeError(
            f'layout={layout!r} is not a layout; write "auto", "fit", "vmap", "map", a number of '
            "members a chunk, or vt.Layout(chunk=..., devices=..., memory=...)"
        )
    available = len(target.devices())
    if layout.devices is not None and layout.devices > available:
        raise ValueError(
            f"layout: {layout.devices} devices asked for, {available} are there; write devices="
            f"{available} or less"
        )
    if layout.devices is not None and layout.devices < target.processes():
        raise ValueError(
            f"layout: devices={layout.devices}, and {target.processes()} processes train together, "
            f"each on a device of its own at least; write devices={target.processes()} or more"
        )
    chunk = layout.chunk
    if chunk == "auto" and target.platform() != "cpu":
        chunk = "fit"
    return Layout(chunk, devices_for(size, layout.devices or available), layout.memory)


def devices_for(size: int, devices: int) -> int:
    """Returns how many of so many devices train a population: no more than it has members, but
    one of every process, since all of them run the program."""
    return max(min(devices, size), target.processes())


def mesh(devices: int) -> Mesh:
    """Returns the mesh of the target's devices, with one axis, named `AXIS`."""
    # AxisType.Auto, since explicit axes refuse sorting by sharded scores.
    return jax.make_mesh(
        (devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=_some(target.devices(), devices)
    )


def _some(devices: Sequence[jax.Device], count: int) -> list[jax.Device]:
    """Returns so many of the devices, as evenly as can be from every process, in their order."""
    taken: Counter[int] = Counter()
    turns = []  # by device, how many of its process come before it
    for device in devices:
        turns.append(taken[device.process_index])
        taken[device.process_index] += 1
    chosen = sorted(range(len(devices)), key=lambda i: (turns[i], i))[:count]
    return [devices[i] for i in sorted(chosen)]


def sharding(layout: Layout, size: int | None, axis: int = 0) -> NamedSharding | None:
    """Returns the sharding of an array whose `axis` is a population of `size`.

    Args:
      size: None for an array that is whole on every device.
    """
    devices = layout.devices or 1
    if devices == 1 and not target.is_elsewhere():
        return None
    divides = size is not None and size % devices == 0
    return NamedSharding(
        mesh(devices), PartitionSpec(*[None] * axis, AXIS) if divides else PartitionSpec()
    )


def cores() -> int:
    """Returns how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_all_cores() -> int:
    """Makes one JAX device of each CPU core, so that a population uses them all. Call it first.

    Changes nothing where JAX runs on a GPU or TPU.

    Returns:
      The number of cores.

    Raises:
      RuntimeError: JAX has started already, so it is too late.
    """
    count = cores()
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise RuntimeError(
            "use_all_cores: JAX has started already; call it before the first array is made"
        ) from None
    return count
