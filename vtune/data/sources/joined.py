"""Tables one behind the other as one table, without copying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vtune.data.sources.table import Field, Table


class JoinedTable:
    """Tables with the same entries, whose rows are counted through.

    Args:
      parts: by the name that messages call them.
    """

    def __init__(self, parts: Mapping[str, Table]):
        self._names, self._tables = list(parts), list(parts.values())
        self._starts = np.cumsum([0, *(table.rows for table in self._tables)])
        self.fields = {name: self._field(name) for name in self._tables[0].fields}
        self.rows = int(self._starts[-1])
        self.by_entry = all(table.by_entry for table in self._tables)

    def _field(self, name: str) -> Field:
        """Returns a field that holds the numbers of all tables."""
        fields = [table.fields[name] for table in self._tables]
        return Field(fields[0].shape, np.result_type(*(field.dtype for field in fields)))

    def take(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        part = np.searchsorted(self._starts, rows, side="right") - 1
        taken = {
            n: np.empty((len(rows), *self.fields[n].shape), self.fields[n].dtype) for n in names
        }
        for number in np.unique(part).tolist():
            own = np.flatnonzero(part == number)
            read = self._tables[number].take(rows[own] - self._starts[number], names)
            for name, values in read.items():
                taken[name][own] = values
        return taken

    def place(self, row: int) -> str:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        place = self._tables[number].place(row - int(self._starts[number]))
        return f"{place} of {self._names[number]}"
