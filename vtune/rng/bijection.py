"""A shuffle computed place by place: a keyed bijection of 0 .. size - 1.

`jax.random.permutation` sorts all rows, which for ten million takes longer than many an epoch of
training. Here each row of the shuffle is some hundred operations on integers, for whoever asks for
it, and nobody holds all rows. The functions of this file compute the same bits in NumPy and in JAX.

A place is a pair (high, low), low of k bits, k half of those of a place. Each round adds to one of
them a hash of the other, so the pairs are hardly more than the places: by less than 2**k. A place
that is sent to one of those beyond `size` is sent on until it arrives.

    for each pair of round keys:                         # a Feistel network
        low = low xor hash(high, key)
        high = (high + hash(low, next key)) mod values   # values of `high`: size / 2**k, rounded up

Feistel networks on any number of values and walks along a cycle: Black and Rogaway 2002, "Ciphers
with arbitrary finite domains". The hash is Wellons' lowbias32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

ROUNDS = 8  # four leave no trace in the statistics of `tests/test_bijection.py`
_GOLDEN = np.uint32(0x9E3779B9)  # 2**32 divided by the golden ratio
_ONE, _HALF_WORD = np.uint32(1), np.uint32(16)


def permuted(words: Any, size: Any, places: Any, xp: Any = jnp) -> Any:
    """Returns which of 0 .. size - 1 stand at some places of the shuffle.

    Args:
      words: [2] uint32, the data of a key. Each key shuffles differently.
      size: from 1 to 2**31 - 1; it may be traced.
      places: integers of any shape, from 0 to size - 1; those beyond are taken for the last one.
      xp: `jnp`, or `np` on the host.

    Returns:
      int32 of the shape of `places`. All places together hold each number once.
    """
    size = xp.maximum(xp.asarray(size), 1).astype(np.uint32)
    network = _network(words, size, xp)
    reached = network.send(xp.minimum(xp.asarray(places).astype(np.uint32), size - _ONE), xp)
    if xp is jnp:
        reached = lax.while_loop(
            lambda reached: jnp.any(reached >= size),
            lambda reached: jnp.where(reached >= size, network.send(reached, jnp), reached),
            reached,
        )
    else:
        while np.any(beyond := reached >= size):
            reached[beyond] = network.send(reached[beyond], np)
    return reached.astype(np.int32)


class _Network(NamedTuple):
    """The rounds.

    Attributes:
      keys: [ROUNDS]. low_bits: k. values: how many `high` has, below 2**16.
    """

    keys: Any
    low_bits: Any
    values: Any

    def send(self, places: Any, xp: Any) -> Any:
        """Returns where places from 0 to values * 2**k - 1 are sent, among themselves."""
        mask = (_ONE << self.low_bits) - _ONE
        high, low = places >> self.low_bits, places & mask
        for number in range(0, ROUNDS, 2):
            low = low ^ (_hash(high ^ self.keys[number]) & mask)
            high = high + _below(self.values, _hash(low ^ self.keys[number + 1]))
            high = xp.where(high >= self.values, high - self.values, high)
        return (high << self.low_bits) | low


def _network(words: Any, size: Any, xp: Any) -> _Network:
    numbers = xp.arange(1, ROUNDS + 1, dtype=np.uint32) * _GOLDEN
    keys = _hash(_hash(numbers ^ words[0]) ^ words[1])
    last = size - _ONE
    bits = xp.sum((last >> xp.arange(32, dtype=np.uint32)) > 0).astype(np.uint32)
    low_bits = (bits + _ONE) >> _ONE
    return _Network(keys, low_bits, (last >> low_bits) + _ONE)


def _hash(x: Any) -> Any:
    """Mixes the bits of uint32 arrays; itself a bijection."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _below(values: Any, drawn: Any) -> Any:
    """Returns drawn * values / 2**32, rounded down, by 32-bit products: from 0 to values - 1."""
    low = ((drawn & np.uint32(0xFFFF)) * values) >> _HALF_WORD
    return ((drawn >> _HALF_WORD) * values + low) >> _HALF_WORD
