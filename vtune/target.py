"""The devices that programs are compiled for: this machine's own, or a chip's that is not here.

Whatever depends on the kind of device asks here, never JAX, so that a program for another machine
goes the same way through the house.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax


class _Elsewhere(NamedTuple):
    devices: tuple[jax.Device, ...]
    memory: int | None
    options: dict[str, Any]


_elsewhere: ContextVar[_Elsewhere | None] = ContextVar("elsewhere", default=None)


@contextmanager
def compiling_for(
    devices: Sequence[jax.Device],
    memory: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Makes these the devices that programs are compiled for. Such programs cannot be run.

    Args:
      memory: bytes that a program may take on each; None for no limit.
      options: of the compiler.
    """
    token = _elsewhere.set(_Elsewhere(tuple(devices), memory, dict(options or {})))
    try:
        yield
    finally:
        _elsewhere.reset(token)


def devices() -> tuple[jax.Device, ...]:
    """Returns the devices that programs are compiled for: those of all processes, or those
    elsewhere."""
    given = _elsewhere.get()
    return tuple(jax.devices()) if given is None else given.devices


def processes() -> int:
    """Returns how many processes run the programs together; see `jax.distributed`."""
    return jax.process_count() if _elsewhere.get() is None else 1


def is_first_process() -> bool:
    """Returns whether this process speaks for all: it prints, writes and decides.

    Starts no backend, so that `jax.distributed.initialize` may come later.
    """
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def is_elsewhere() -> bool:
    """Returns whether these are devices that this process does not have."""
    return _elsewhere.get() is not None


def platform() -> str:
    """Returns the kind of these devices: "cpu", "gpu" or "tpu"."""
    given = _elsewhere.get()
    if given is None:
        return jax.default_backend()
    named = given.devices[0].platform
    return "gpu" if named in ("cuda", "rocm") else named


def lowering_platforms() -> tuple[str, ...] | None:
    """Returns what to lower programs for; None for the platform that JAX runs on."""
    given = _elsewhere.get()
    if given is None:
        return None
    return ("cuda" if platform() == "gpu" else platform(),)


def memory_elsewhere() -> int | None:
    """Returns the bytes that a program may take on each device elsewhere; None if unknown."""
    given = _elsewhere.get()
    return None if given is None else given.memory


def compiler_options() -> dict[str, Any] | None:
    """Returns the compiler's options for devices elsewhere; None for those of this machine."""
    given = _elsewhere.get()
    return None if given is None else given.options
