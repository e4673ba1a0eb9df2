"""The data of `row_key` on the host, where JAX would compile a program to fold a number in."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtune.rng.keys import ROWS
from vtune.rng.threefry import PARITY, ROTATIONS

_WORD = 2**32 - 1


def row_words(seed: Any, fold: Any, epoch: Any) -> np.ndarray:
    """Returns the two words [2] of the key that shuffles one fold in one epoch."""
    words = (0, int(seed))
    for number in (ROWS, fold, epoch):
        words = _fold(words, int(number))
    return np.array(words, np.uint32)


def _fold(words: tuple[int, int], number: int) -> tuple[int, int]:
    """Returns words with a number folded in: Threefry-2x32 of the counter (0, number)."""
    schedule = (*words, words[0] ^ words[1] ^ PARITY)
    first, second = schedule[0], (schedule[1] + number) & _WORD
    for i in range(5):
        for turn in ROTATIONS[i % 2]:
            first = (first + second) & _WORD
            second = first ^ (((second << turn) & _WORD) | (second >> (32 - turn)))
        first = (first + schedule[(i + 1) % 3]) & _WORD
        second = (second + schedule[(i + 2) % 3] + i + 1) & _WORD
    return first, second
