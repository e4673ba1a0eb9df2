"""What a user gives, as entries that are read from where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.column_names import column_names
from vtune.data.convert import native_dtype, to_array
from vtune.data.host_entry import HostEntry
from vtune.data.sources.arrays import ArrayTable, is_row_source
from vtune.data.sources.joined import JoinedTable
from vtune.data.sources.records import RecordTable, is_record_source
from vtune.data.sources.table import Table
from vtune.data.validate import check_entry, check_mapping, check_shapes


class HostArrays(dict[str, HostEntry]):
    """Entries by name, all of one table.

    Attributes:
      columns: by name, the columns of those that were data frames.
    """

    columns: dict[str, tuple[str, ...]]

    def __init__(self, table: Table, columns: Mapping[str, tuple[str, ...]] | None = None):
        self.table = table
        self.columns = dict(columns or {})
        for name, field in table.fields.items():
            dtype = jax.dtypes.canonicalize_dtype(native_dtype(field.dtype))
            self[name] = HostEntry(table, name, np.dtype(dtype))


def host_arrays(who: str, given: Any) -> HostArrays:
    """Returns arrays by name, or a source of records, as entries whose rows stay where they are.

    Entries of small rows are looked through.

    Raises:
      TypeError, ValueError: they are empty, of different lengths, not numeric, or not finite.
    """
    if is_record_source(given):
        made = HostArrays(RecordTable(who, given))
    else:
        check_mapping(who, given)
        arrays = {name: _rows_of(who, name, value) for name, value in given.items()}
        check_shapes(who, {name: array.shape for name, array in arrays.items()}, given)
        made = HostArrays(ArrayTable(arrays), column_names(given))
    for entry in made.values():
        for rows in entry.blocks() if entry.is_small else ():
            try:
                entry.take(rows)
            except ValueError as error:
                raise ValueError(f"{who}: {error}") from None
    return made


def joined_arrays(parts: Mapping[str, HostArrays]) -> HostArrays:
    """Returns the entries of several tables, one behind the other."""
    first = next(iter(parts.values()))
    table = JoinedTable({name: part.table for name, part in parts.items()})
    return HostArrays(table, first.columns)


def row_dtype(arrays: HostArrays) -> np.dtype:
    """Returns the dtype of row numbers."""
    return np.dtype(np.int32 if arrays.table.rows < 2**31 else np.int64)


def _rows_of(who: str, name: Any, value: Any) -> Any:
    array = value if is_row_source(value) else to_array(who, name, value)
    check_entry(who, name, array)
    return array
