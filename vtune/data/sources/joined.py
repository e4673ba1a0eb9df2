"""Tables one behind the other as one table, without copying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vtune.data.sources.table import Table


class JoinedTable:
    """Tables with the same entries, whose rows are counted through.

    Args:
      parts: by the name that messages call them.
    """

    def __init__(self, parts: Mapping[str, Table]):
        self._names, self._tables = list(parts), list(parts.values())
        self._starts = np.cumsum([0, *(table.rows for table in self._tables)])
        self.fields = self._tables[0].fields
        self.rows = int(self._starts[-1])
        self.by_entry = all(table.by_entry for table in self._tables)

    def take(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        part = np.searchsorted(self._starts, rows, side="right") - 1
        taken: dict[str, np.ndarray] = {}
        for number in np.unique(part).tolist():
            own = np.flatnonzero(part == number)
            read = self._tables[number].take(rows[own] - self._starts[number], names)
            if len(own) == len(rows):
                return read
            for name, values in read.items():
                if name not in taken:
                    taken[name] = np.empty((len(rows), *values.shape[1:]), values.dtype)
                taken[name][own] = values
        return taken

    def place(self, row: int) -> str:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        place = self._tables[number].place(row - int(self._starts[number]))
        return f"{place} of {self._names[number]}"
