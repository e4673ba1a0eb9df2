"""Encodes texts as arrays of ids: bytes, words of a vocabulary, or hashed words.

    train = vt.holdout({"y": labels}, seed=0).train
    words = vt.text.vocabulary([texts[i] for i in train], size=5000)
    data = vt.holdout({"x": vt.text.word_ids(texts, 32, words), "y": labels}, seed=0)

Id 0 is padding, and `vt.text.mask(ids)` is True elsewhere. Texts are cut after `length` ids. Make
the vocabulary of the training texts only: `holdout` draws the same rows for the same number of
rows, fraction, seed and labels. Bytes and hashes need none.
"""

from __future__ import annotations

import collections
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import jax
import numpy as np

from vtune.validation import LARGEST, check_count, is_whole

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Splits a text into words in lower case and single punctuation marks."""
    return _WORD.findall(text.lower())


def byte_ids(texts: Iterable[str], length: int) -> np.ndarray:
    """Encodes texts as ids [rows, length] int32: UTF-8 bytes as 1 to 256.

    Raises:
      TypeError, ValueError: `texts` is not a list of strings, or `length` is below 1.
    """
    return _padded("byte_ids", texts, length, lambda text: [b + 1 for b in _encoded(text)])


def vocabulary(texts: Iterable[str], size: int) -> dict[str, int]:
    """Returns the ids, from 2 on, of the `size - 2` most frequent words; ties by alphabet.

    Ids are below `size`: 0 is padding, and 1 stands for every other word.

    Raises:
      TypeError, ValueError: `texts` is not a list of strings, or `size` is below 3.
    """
    check_count("text.vocabulary: size", size, 3)
    counts = collections.Counter(
        word for text in _strings("vocabulary", texts) for word in words_of(text)
    )
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number + 2 for number, word in enumerate(ranked[: size - 2])}


def word_ids(texts: Iterable[str], length: int, words: Mapping[str, int]) -> np.ndarray:
    """Encodes texts as ids [rows, length] int32 of a vocabulary; 1 for words that are not in it.

    Raises:
      TypeError, ValueError: as `byte_ids`, or `words` is no vocabulary.
    """
    if not isinstance(words, Mapping) or not all(map(_is_id, words.values())):
        raise TypeError(
            "text.word_ids: words= must be a vocabulary, {word: id} with whole numbers from 0 on; "
            "make one with vt.text.vocabulary(texts, size)"
        )
    return _padded(
        "word_ids", texts, length, lambda text: [words.get(word, 1) for word in words_of(text)]
    )


def hash_ids(texts: Iterable[str], length: int, buckets: int, *, ngrams: int = 1) -> np.ndarray:
    """Encodes texts as ids [rows, length] int32: hashes of words, from 1 to `buckets`.

    Runs of up to `ngrams` words are hashed as well (Weinberger et al. 2009). The hash is the same
    on every machine.

    Raises:
      TypeError, ValueError: as `byte_ids`.
    """
    check_count("text.hash_ids: buckets", buckets)
    if buckets > LARGEST:
        raise ValueError(f"text.hash_ids: buckets={buckets} must be at most {LARGEST}")
    check_count("text.hash_ids: ngrams", ngrams)

    def ids(text: str) -> list[int]:
        words = words_of(text)
        runs = [words[i : i + n] for n in range(1, ngrams + 1) for i in range(len(words) - n + 1)]
        return [zlib.crc32(" ".join(run).encode()) % buckets + 1 for run in runs]

    return _padded("hash_ids", texts, length, ids)


def mask(ids: Any) -> Any:
    """Returns True where `ids` belong to a text, False on padding.

    Raises:
      TypeError: these are no ids.
    """
    ids = ids if hasattr(ids, "dtype") else np.asarray(ids)
    if not np.issubdtype(ids.dtype, np.number):
        raise TypeError("text.mask: give ids, such as vt.text.word_ids(texts, 32, words)")
    return ids > 0


def _padded(
    who: str, texts: Iterable[str], length: int, ids: Callable[[str], list[int]]
) -> np.ndarray:
    check_count(f"text.{who}: length", length)
    rows = [ids(text)[:length] for text in _strings(who, texts)]
    padded = np.zeros((len(rows), length), np.int32)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text.byte_ids: {text!r} is no valid text ({error.reason})") from None


def _is_id(value: Any) -> bool:
    return is_whole(value) and 0 <= value <= LARGEST


def _strings(who: str, texts: Any) -> list[str]:
    unordered = isinstance(texts, Mapping | Set)
    if unordered or isinstance(texts, str | bytes | jax.Array) or not isinstance(texts, Iterable):
        raise TypeError(f"text.{who}: {type(texts).__name__} is not a list of strings")
    listed = list(texts)
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(f"text.{who}: text {i} is {text!r}, not a string")
    return listed
