"""The points of a scrambled Halton sequence, those of `scipy.stats.qmc.Halton`.

They are drawn here, since importing `scipy.stats` takes as long as half a small sweep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def halton_points(seed: Sequence[int], first: int, count: int, dims: int) -> np.ndarray:
    """Returns points [count, dims] of the unit cube, from number `first` on in the sequence.

    In each dimension the digits of a point's number, in a prime base, are permuted and stand
    behind the point in reverse order (Owen 2017, algorithm 1).

    Args:
      seed: of the permutations, as `np.random.default_rng` takes it.
    """
    rng = np.random.default_rng(seed).spawn(1)[0]  # as scipy draws from a child of what it is given
    numbers = np.arange(first, first + count)
    columns = [_permuted_digits(rng, numbers, base) for base in _primes(dims)]
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0))


def _permuted_digits(rng: np.random.Generator, numbers: np.ndarray, base: int) -> np.ndarray:
    digits = math.ceil(54 / math.log2(base)) - 1  # those that count in float64
    points, weight = np.zeros(len(numbers)), 1.0
    for _ in range(digits):
        permutation = np.arange(base)
        rng.shuffle(permutation)
        numbers, digit = np.divmod(numbers, base)
        weight /= base
        points += permutation[digit] * weight
    return points


def _primes(count: int) -> list[int]:
    """Returns the first prime numbers."""
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found
