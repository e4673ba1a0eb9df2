"""What is known of an array while lookups are sought: which entry of the data it is, and which
lookups' numbers outside are in it. See lookups.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """An array whose numbers are those of an entry of the data.

    Attributes:
      name: of the entry. shift: what was added to it.
      slices: (start, stop, step) of each axis behind the rows, None where it is whole.
      whole_rows: whether the axes are still those of the entry.
      wrapped: the length that was added to negative numbers, 0 where none was.
    """

    name: str
    shift: int = 0
    slices: tuple[tuple[int, int, int], ...] | None = None
    whole_rows: bool = True
    wrapped: int = 0

    def reshaped(self) -> Entry:
        """Returns the entry in another form, of which no slice is told apart."""
        return self._replace(whole_rows=False)


class Lookup(NamedTuple):
    """A place where an entry is looked up.

    Attributes:
      entry: what is looked up. size: of the axis, or classes of one_hot.
      shape: of the array that is indexed; None of one_hot.
      outside: what JAX makes of numbers outside: "nan", "last" (the nearest there is), "end"
        (counted from the end, which is about negative numbers alone) or "zeros".
    """

    entry: Entry
    size: int
    shape: tuple[int, ...] | None
    outside: str


Marks = frozenset[Lookup]
NONE: Marks = frozenset()


class Value(NamedTuple):
    """What is known of an array.

    Attributes:
      entry: the entry that it is. columns: by index of the last axis, entries put side by side.
      negative: the entry of which it says what is below 0.
      number: the whole number that it is everywhere. counts: n where it counts 0 ... n - 1 along
        an axis.
      data, state: whether it depends on the data, on the member's state.
      masked: whether a mask of the data was used in it.
      certain: lookups whose numbers outside are in it for certain; possible: and maybe.
    """

    entry: Entry | None = None
    columns: tuple[Entry | None, ...] | None = None
    negative: Entry | None = None
    number: int | None = None
    counts: int | None = None
    data: bool = False
    state: bool = False
    masked: bool = False
    certain: Marks = NONE
    possible: Marks = NONE


def plain(value: Value) -> Value:
    return mixed([value])


def mixed(values: Iterable[Value]) -> Value:
    """Returns what is known of an array that is computed of others."""
    values = list(values)
    return Value(
        data=any(value.data for value in values),
        state=any(value.state for value in values),
        masked=any(value.masked for value in values),
        certain=NONE.union(*(value.certain for value in values)),
        possible=possible(values),
    )


def possible(values: Iterable[Value]) -> Marks:
    return NONE.union(*(value.possible for value in values))


def nans(marks: Marks) -> Marks:
    return frozenset(lookup for lookup in marks if lookup.outside == "nan")


def doubtful(value: Value, marks: Marks) -> Value:
    """Returns the value with marks that are no longer certain."""
    marks &= value.certain
    return value._replace(certain=value.certain - marks, possible=value.possible | marks)


def without_finite(value: Value, part: Value) -> Value:
    """Returns the value without the marks of a part that is weighed, but for NaN, which stays."""
    gone = (part.certain - nans(part.certain)) | (part.possible - nans(part.possible))
    return value._replace(certain=value.certain - gone, possible=value.possible - gone)
