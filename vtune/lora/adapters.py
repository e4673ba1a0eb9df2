"""The arrays of an adapter: their shapes, how they are drawn, and their keys."""

from __future__ import annotations

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.lora.tagged import Factor, Tagged
from vtune.lora.uses import Split
from vtune.rng.threefry import folded
from vtune.types import Array, Key

_TAG = 0x6C6F7261  # "lora"


def adapter_key(key: Key, name: str) -> Key:
    """Returns an adapter's own key: the key folded with a tag, then with the CRC-32 of the weight's
    path. Adapters are drawn with that of the member key, dropout with that of the step key."""
    common = folded(key, np.uint32(_TAG))  # one for all adapters, and neither fold is a loop
    return folded(common, np.uint32(zlib.crc32(name.encode())))


def shapes(weight: Any, split: Split, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the shapes of A [*stack, *inner, rank] and of B [*stack, rank, *outer]."""
    stack, inner, outer = (tuple(weight.shape[axis] for axis in axes) for axes in split[:3])
    return (*stack, *inner, rank), (*stack, rank, *outer)


def smaller_side(weight: Any, split: Split) -> int:
    """Returns the largest rank that what is added can have."""
    size = lambda axes: math.prod(weight.shape[axis] for axis in axes)
    return min(size(split.inner), size(split.outer))


def drawn(key: Key, weight: Any, split: Split, rank: int) -> dict[str, Array]:
    """Returns the first adapter of a weight, whose product is 0.

    A is normal with the standard deviation 1 / sqrt(inputs) and B 0, as in Hu et al. (2021); of a
    table A is 0 and B standard normal, as in the authors' code.
    """
    a, b = shapes(weight, split, rank)
    if split.table:
        return {
            "a": jnp.zeros(a, weight.dtype),
            "b": jax.random.normal(key, b, weight.dtype),
        }
    inputs = math.prod(weight.shape[axis] for axis in split.inner)
    normal = jax.random.normal(key, a, weight.dtype)
    return {
        "a": normal / jnp.asarray(math.sqrt(inputs), weight.dtype),
        "b": jnp.zeros(b, weight.dtype),
    }


def tagged(name: str, weight: Any, split: Split, a: Array, b: Array, scale: Array) -> Tagged:
    """Returns a weight with its adapter.

    Args:
      scale: [rank], what multiplies each column.
    """
    b = jnp.moveaxis(b, len(split.stack), -1)
    b = b * scale.reshape((1,) * (b.ndim - 1) + scale.shape)
    first = _factor(weight, split.stack + split.inner, a)
    return Tagged(weight, (first, _factor(weight, split.stack + split.outer, b)), name)


def _factor(weight: Any, axes: tuple[int, ...], array: Array) -> Factor:
    """Returns a factor of an array [*axes, rank], whose axes are in any order."""
    order = sorted(range(len(axes)), key=lambda place: axes[place])
    array = jnp.transpose(array, (*order, len(order)))
    long = tuple(axis for axis in sorted(axes) if weight.shape[axis] != 1)
    sizes = [weight.shape[axis] for axis in long]
    return Factor(array.reshape(*sizes, array.shape[-1]), long)


def product(split: Split, a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns what an adapter adds to its weight, in the weight's layout."""
    rank, axes = len(split.stack) + len(split.inner) + len(split.outer), sorted(sum(split[:3], ()))
    left, right = [*split.stack, *split.inner, rank], [*split.stack, rank, *split.outer]
    return np.einsum(a * scale, left, b, right, axes)
