"""JAX's threefry draws with their rounds unrolled: the same bits in less time.

On a CPU JAX draws in a loop of twenty rounds, which XLA compiles to eight kernels for each draw.
Unrolled they are one kernel, which XLA often fuses with what reads the numbers. Keys of other kinds
and other platforms are left to JAX. (Salmon, Moraes, Dror and Shaw 2011.)
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune import target
from vtune.types import Array, Key

IMPL = "threefry2x32"  # `rbg` keys give different bits under vmap
DRAWS = ("random_bits", "random_fold_in", "random_split")  # JAX's names of the replaced primitives
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
_UINTS = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32}


def folded(key: Key, *data: Any) -> Key:
    """Returns `key` with each number folded in, one after the other, as `jax.random.fold_in`."""
    if not _is_supported(key):
        for number in data:
            key = jax.random.fold_in(key, number)
        return key
    return _key(_fold(jax.random.key_data(key), jnp.stack([jnp.uint32(n) for n in data])))


def bits(key: Key, shape: tuple[int, ...], width: int = 32) -> Array:
    """Returns random bits as unsigned integers of `width` 8, 16, 32 or 64, as `jax.random.bits`."""
    if not _is_supported(key):
        return jax.random.bits(key, shape, f"uint{width}")
    first, second = _threefry(jax.random.key_data(key), *_counters(shape))
    if width == 64:
        first, second = first.astype(jnp.uint64), second.astype(jnp.uint64)
        return (first << jnp.uint64(32)) | second
    return (first ^ second).astype(_UINTS[width])


def _split(key: Key, shape: tuple[int, ...]) -> Key:
    return _key(jnp.stack(_threefry(jax.random.key_data(key), *_counters(shape)), axis=-1))


def unrolled(name: str, ins: list[Any], params: Any) -> list[Any] | None:
    """Returns the outputs of a drawing primitive by unrolled code; None where JAX must run it.

    Args:
      name: of the primitive; ins, params: inputs and parameters of its equation.
    """
    if name not in DRAWS or not _is_supported(ins[0]):
        return None
    if name == "random_fold_in":
        return [folded(*ins)] if jnp.ndim(ins[1]) == 0 else None
    if math.prod(params["shape"]) >= 2**32:  # counters would take two words
        return None
    if name == "random_split":
        return [_split(ins[0], params["shape"])]
    return [bits(ins[0], params["shape"], params["bit_width"])]


def _is_supported(key: Key) -> bool:
    """Whether this is a single key from which JAX would draw the same bits, but slower."""
    return (
        key.dtype == key_dtype()
        and key.ndim == 0
        and target.platform() == "cpu"
        and bool(jax.config.jax_threefry_partitionable)  # type: ignore[attr-defined]
    )


@functools.cache
def key_dtype() -> Any:
    """Returns the dtype of threefry keys."""
    return jax.eval_shape(lambda: jax.random.key(0, impl=IMPL)).dtype


def _key(words: Array) -> Key:
    return jax.random.wrap_key_data(words, impl=IMPL)


def _counters(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Returns the index of every element of an array, as a high and a low word."""
    low = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return jnp.zeros_like(low), low


@jax.jit
def _fold(words: Array, numbers: Array) -> Array:
    def one(i: Any, words: Array) -> Array:
        return jnp.stack(_threefry(words, jnp.zeros_like(numbers[i]), numbers[i]))

    if len(numbers) == 1:
        return one(0, words)
    return lax.fori_loop(0, len(numbers), one, words)  # one kernel for all of them


@jax.jit  # traced once for all draws of a shape
def _threefry(words: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Applies Threefry-2x32 with 20 rounds to counters (high, low), uint32 of one shape."""
    # In lax operations: tracing a hundred jnp ones takes longer than the rest of a draw.
    full = lambda number: lax.full(high.shape, number, jnp.uint32)
    a, b = (lax.broadcast(lax.index_in_dim(words, i, keepdims=False), high.shape) for i in (0, 1))
    schedule = a, b, a ^ b ^ full(PARITY)
    first, second = lax.add(high, a), lax.add(low, b)
    for i in range(5):
        for turn in ROTATIONS[i % 2]:
            first = lax.add(first, second)
            left = lax.shift_left(second, full(turn))
            right = lax.shift_right_logical(second, full(32 - turn))
            second = lax.bitwise_xor(first, lax.bitwise_or(left, right))
        first = lax.add(first, schedule[(i + 1) % 3])
        second = lax.add(lax.add(second, schedule[(i + 2) % 3]), full(i + 1))
    return first, second
