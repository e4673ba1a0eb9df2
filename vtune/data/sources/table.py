"""A table: entries by name, of which rows are read by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Field(NamedTuple):
    """The shape of one row of an entry, and its dtype as the source has it."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Table(Protocol):
    """Entries by name, all with equally many rows.

    Attributes:
      rows: how many there are. fields: by name.
      by_entry: whether one entry is read without reading the others.
    """

    rows: int
    by_entry: bool

    @property
    def fields(self) -> Mapping[str, Field]: ...

    def take(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Reads rows [n] of these entries, in the order asked; a row may be asked for twice."""

    def place(self, row: int) -> str:
        """Returns what a message calls a row."""


def in_order(read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Reads rows [n] by a function that wants them sorted and each once."""
    found, places = np.unique(rows, return_inverse=True)
    values = read(found)
    return values if len(found) == len(rows) and _is_sorted(rows) else values[places.reshape(-1)]


def _is_sorted(rows: np.ndarray) -> bool:
    return bool(np.all(rows[1:] >= rows[:-1]))
