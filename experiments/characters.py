"""Messages as symbols, and what a character of them costs without a network."""

from __future__ import annotations

import bz2
import collections
import lzma
import math
from collections.abc import Iterable, Sequence

import numpy as np

PAD, END, RARE = 0, 1, 2  # symbols that are no characters; what is before the first is PAD, too


def distinct(texts: Iterable[str], letters: int) -> list[str]:
    """Returns the texts, of those that begin with the same letters only the first."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault("".join(filter(str.isalpha, text.lower()))[:letters], text)
    return list(first.values())


def alphabet(texts: Iterable[str], least: int) -> str:
    """Returns the characters that occur so often at least, the most frequent first."""
    counts = collections.Counter("".join(texts))
    return "".join(c for c, n in sorted(counts.items(), key=lambda i: (-i[1], i[0])) if n >= least)


def encode(texts: Sequence[str], characters: str, length: int) -> dict[str, np.ndarray]:
    """Returns what comes at each place of each text, and what came before it.

    Args:
      characters: of the alphabet; others become RARE.

    Returns:
      x: [texts, length] uint8, what came before: PAD at the first place.
      y: [texts, length] uint8, what comes: a character, END where a text ends before `length`, and
        PAD after it.
      mask: [texts, length] bool, where y is not PAD.
    """
    ids = {c: number for number, c in enumerate(characters, RARE + 1)}
    y = np.full((len(texts), length), PAD, np.uint8)
    for row, text in zip(y, texts, strict=True):
        own = [*(ids.get(c, RARE) for c in text), END][:length]
        row[: len(own)] = own
    x = np.roll(y, 1, axis=1)
    x[:, 0] = PAD
    return {"x": x, "y": y, "mask": y != PAD}


def decode(row: Iterable[int], characters: str) -> str:
    """Returns the text of symbols up to END or PAD."""
    text = ""
    for symbol in row:
        if symbol in (PAD, END):
            break
        text += "□" if symbol == RARE else characters[symbol - RARE - 1]
    return text


def ngram_bits(known: np.ndarray, new: np.ndarray, order: int, symbols: int) -> float:
    """Returns the bits a symbol of new rows under an n-gram of known ones.

        p(c | context) = (count(context c) + kinds p(c | shorter)) / (count(context) + kinds)

    `kinds` being how many symbols were seen after the context, down to the empty one, under which
    all symbols are equally likely (Witten and Bell 1991, method C). `order` 1 is the unigram.

    Args:
      known, new: [rows, places], as `y` of `encode`.
    """
    counts: dict[tuple[int, ...], collections.Counter] = collections.defaultdict(
        collections.Counter
    )
    for context, symbol in _contexts(known, order):
        for shorter in range(order):
            counts[context[shorter:]][symbol] += 1
    kinds = {context: len(seen) for context, seen in counts.items()}
    totals = {context: seen.total() for context, seen in counts.items()}
    bits, number = 0.0, 0
    for context, symbol in _contexts(new, order):
        p = 1 / symbols
        for shorter in range(order - 1, -1, -1):
            own = context[shorter:]
            if own in counts:
                p = (counts[own][symbol] + kinds[own] * p) / (totals[own] + kinds[own])
        bits, number = bits - math.log2(p), number + 1
    return bits / number


def compressed_bits(known: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """Returns by how many bits a symbol of new rows lengthens what bz2 and LZMA make of known ones.

    Args:
      known, new: as for `ngram_bits`.
    """
    known, new = (rows[rows != PAD].astype(np.uint8).tobytes() for rows in (known, new))
    found = {}
    for name, write in (
        ("bz2", lambda text: bz2.compress(text, 9)),
        ("lzma", lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)),
    ):
        found[name] = 8 * (len(write(known + new)) - len(write(known))) / len(new)
    return found


def _contexts(rows: np.ndarray, order: int) -> Iterable[tuple[tuple[int, ...], int]]:
    """Yields every symbol of every row, with the order - 1 before it; before the first is PAD."""
    before = (PAD,) * (order - 1)
    for row in rows:
        own = (*before, *(int(symbol) for symbol in row if symbol != PAD))
        for place in range(order - 1, len(own)):
            yield own[place - order + 1 : place], own[place]
