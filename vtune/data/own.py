"""Arrays on the device whose memory nobody else holds.

JAX takes a NumPy array on a CPU without a copy where it starts at a multiple of 64 bytes. What its
owner writes into it later would then change the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import numpy as np

from vtune.data.precision import remainder
from vtune.types import Array

_ALIGNMENT = 64  # bytes; XLA's on CPUs


class CheckedArrays(dict[str, np.ndarray]):
    """Arrays by name, in the dtypes in which JAX holds them.

    Attributes:
      borrowed: the names of those that may lie in memory of the user's.
      uncast: by name, the arrays as they were given where they have another dtype.
      columns: by name, the columns of those that were data frames.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray] | None = None):
        super().__init__(arrays or {})
        self.borrowed: set[str] = set()
        self.uncast: dict[str, np.ndarray] = {}
        self.columns: dict[str, tuple[str, ...]] = {}

    def remainders(self, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Returns by name what casts took away, see `remainder`; `rows` are the training rows."""
        lost = {name: remainder(a, self[name], rows) for name, a in self.uncast.items()}
        return {name: array for name, array in lost.items() if array is not None}


def on_device(arrays: CheckedArrays) -> dict[str, Array]:
    """Puts arrays on the device, without sharing the memory of those that are borrowed.

    None is copied twice: neither one that JAX copies itself nor one that a cast has made anew.
    """
    return {name: _put(array, name in arrays.borrowed) for name, array in arrays.items()}


def is_borrowed(array: np.ndarray, value: object) -> bool:
    """Whether an array made of a user's value may lie in memory that others can write to.

    A file that is mapped read-only counts as nobody's: it is not copied into memory.
    """
    if isinstance(value, list | tuple):
        return False
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode == "r":
            return False
        base = base.base
    return True


def _put(array: np.ndarray, borrowed: bool) -> Array:
    held = jax.device_put(array)
    if not borrowed:
        return held
    held.block_until_ready()  # it is copied in the background
    on_cpu = all(device.platform == "cpu" for device in held.devices())
    if on_cpu and np.may_share_memory(np.asarray(held), array):
        return jax.device_put(_aligned_copy(array))  # which JAX takes as it is
    return held


def _aligned_copy(array: np.ndarray) -> np.ndarray:
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an array to be filled, which JAX takes on a CPU as it is."""
    count = math.prod(shape) * dtype.itemsize
    memory = np.empty(count + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + count].view(dtype).reshape(shape)
