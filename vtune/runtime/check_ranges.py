"""Compares the entries of the data that are looked up with what they are looked up in."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from vtune.callers import users_line
from vtune.data.dataset import Data
from vtune.data.looks import held, sample_rows
from vtune.xla.lookups import Entry, Lookup


def check_ranges(
    lookups: Iterable[Mapping[Lookup, bool]], data: Data | None, warn: bool = True
) -> None:
    """Checks that ids and labels lie in what the model and the loss look them up in.

    Args:
      lookups: by cohort, see `check_learner.Inspection`.
      warn: whether to warn of those that JAX takes for others, or leaves out.

    Raises:
      ValueError: numbers out of range make the loss NaN.
    """
    if data is None:
        return
    said: dict[str, None] = {}
    for found in lookups:
        for lookup, certain in found.items():
            for message in _messages(lookup, data):
                if certain and lookup.outside == "nan":
                    raise ValueError(message)
                said[message] = None
    for message in said if warn else ():
        warnings.warn(
            f"{message}. Where they are left out already, ignore this", stacklevel=users_line()
        )


def _messages(lookup: Lookup, data: Data) -> Iterator[str]:
    """Yields what is wrong with the numbers of an entry, if anything is."""
    entry, size = lookup.entry, lookup.size
    array = held(data.arrays[entry.name])
    used = None
    if array is None:  # some of the rows that are used stand for it
        array, used = data.arrays[entry.name].take(sample_rows(data)), slice(None)
    lowest, highest = (0 if lookup.outside == "end" else -entry.wrapped), size - 1
    if not _outside(_numbers(array, entry), lowest, highest).size:
        return
    # such as rows of no fold may hold anything
    numbers = _numbers(array[_used_rows(data) if used is None else used], entry)
    outside = _outside(numbers, lowest, highest)
    if lookup.outside == "end":
        outside = outside[(outside < 0) & (outside >= -entry.wrapped)]
    if lookup.outside == "zeros":
        outside = outside[outside > highest]
        if outside.size and outside.min() == outside.max() > size:
            return  # a mark such as 255, of which one_hot makes a row of zeros on purpose
    if outside.size:
        stray = int(outside.min() if lookup.outside == "end" else outside.max())
        yield _message(lookup, int(numbers.min()), int(numbers.max()), stray)


def _outside(numbers: np.ndarray, lowest: int, highest: int) -> np.ndarray:
    if numbers.size and numbers.min() >= lowest and numbers.max() <= highest:
        return numbers[:0]
    return numbers[(numbers < lowest) | (numbers > highest)]


def _numbers(array: np.ndarray, entry: Entry) -> np.ndarray:
    """Returns the numbers of an entry that are looked up."""
    if entry.slices is not None:
        array = array[(slice(None), *(slice(*bounds) for bounds in entry.slices))]
    return array.astype(np.int64) + entry.shift if entry.shift else array


def _used_rows(data: Data) -> np.ndarray:
    indices = (data.train, data.valid, data.test)
    return np.unique(np.concatenate([np.ravel(np.asarray(i)) for i in indices if i is not None]))


_BECOMES = {
    "nan": "JAX returns NaN for what lies outside, and every member would diverge",
    "last": "JAX takes others, mostly the nearest, for those outside",
    "end": "JAX counts negative numbers from the end",
    "zeros": "one_hot makes a row of zeros of what lies outside, so nothing is learned of it",
}


def _message(lookup: Lookup, low: int, high: int, stray: int) -> str:
    entry, size = lookup.entry, lookup.size
    name, shift = f"batch[{entry.name!r}]", entry.shift
    shown = f"{name} {'+' if shift > 0 else '-'} {abs(shift)}" if shift else name
    where = (
        f"goes into one_hot(..., {size})"
        if lookup.shape is None
        else f"indexes an axis of length {size}, in an array {list(lookup.shape)}"
    )
    ways = ""
    if stray >= size:
        from_0 = low > 0 and high - low < size
        other = f"count from 0, {shown} - {low}" if from_0 else "correct the numbers"
        longer = "the model's outputs, or the rows of nn.Embed"
        ways = f"Let there be {high + 1} ({longer}), or {other}. "
    mark = stray - shift
    return (
        f"{shown} runs from {low} to {high} and {where}, which takes 0 to {size - 1}: "
        f"{_BECOMES[lookup.outside]}. {ways}If {mark} marks places to leave out, write "
        f"jnp.where({name} == {mark}, {-shift}, {name}) here, let loss return (values, "
        f"{name} != {mark}), and give metrics ignore={mark}"
    )
