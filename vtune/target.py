"""The devices that programs are compiled for: this machine's own, or a chip's that is not here.

Whatever depends on the kind of device asks here, never JAX, so that a program for another machine
goes the same way through the house.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_elsewhere: ContextVar[tuple[jax.Device, ...] | None] = ContextVar("elsewhere", default=None)


@contextmanager
def compiling_for(devices: Sequence[jax.Device]) -> Iterator[None]:
    """Makes these the devices that programs are compiled for. Such programs cannot be run."""
    token = _elsewhere.set(tuple(devices))
    try:
        yield
    finally:
        _elsewhere.reset(token)


def devices() -> tuple[jax.Device, ...]:
    """Returns the devices that programs are compiled for: the local ones, or those elsewhere."""
    return _elsewhere.get() or tuple(jax.local_devices())


def is_elsewhere() -> bool:
    """Returns whether these are devices that this process does not have."""
    return _elsewhere.get() is not None


def platform() -> str:
    """Returns the kind of these devices: "cpu", "gpu" or "tpu"."""
    given = _elsewhere.get()
    if given is None:
        return jax.default_backend()
    return "gpu" if given[0].platform in ("cuda", "rocm", "gpu") else given[0].platform


def lowering_platforms() -> tuple[str, ...] | None:
    """Returns what to lower programs for; None for the platform that JAX runs on."""
    given = _elsewhere.get()
    if given is None:
        return None
    return ("cuda" if platform() == "gpu" else platform(),)
