"""Sources of records as tables: a Hugging Face dataset, grain's and PyTorch's, read by index."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vtune.data.convert import detached, to_array
from vtune.data.sources.named import reading
from vtune.data.sources.table import Field

_ENDLESS = 2**40  # rows; grain's data sets that are repeated without end have more
_ENTRIES = 'a dict of arrays and numbers such as {"x": image, "y": label}'


def is_record_source(value: Any) -> bool:
    """Whether `value` has rows by number and a length, and is no container of Python's or array."""
    if isinstance(value, Mapping | Sequence) or hasattr(value, "dtype") or hasattr(value, "dtypes"):
        return False
    return hasattr(type(value), "__getitem__") and hasattr(type(value), "__len__")


class RecordTable:
    """Records of one form, as the first is.

    Args:
      who: the caller as messages name it. source: see `is_record_source`.

    Raises:
      TypeError: its rows are no dicts of numbers, or it is not in NumPy's format.
      ValueError: it is empty, or has no end.
    """

    by_entry = False

    def __init__(self, who: str, source: Any):
        _check_format(who, source)
        _check_group(who, source)
        self.rows = len(source)
        if not self.rows:
            raise ValueError(f"{who}: the {type(source).__name__} is empty")
        if self.rows >= _ENDLESS:
            raise ValueError(
                f"{who}: the {type(source).__name__} has no end; leave repeat() out, since every "
                "epoch takes all rows"
            )
        first = source[0]
        _check_record(who, source, first)
        self.fields = {}
        for name, value in first.items():
            try:
                array = to_array(who, name, value)
            except TypeError as error:
                raise TypeError(f"{error}; or leave {name!r} out of the rows") from None
            self.fields[name] = Field(array.shape, array.dtype)
        self._source = source
        self._read = _batched(source, self.rows)
        # Of Hugging Face: columns lie apart, so one is read alone.
        self._columns = getattr(source, "select_columns", None)
        self.by_entry = self._columns is not None

    def take(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        found, places = np.unique(rows, return_inverse=True)
        source, read = self._source, self._read
        if self._columns is not None and len(names) < len(self.fields):
            source = self._columns(list(names))
        with reading(self._source):
            if read is None:
                taken = self._one_by_one(source, found, names)
            else:
                batch = read(source, found)
                taken = {name: self._checked(name, batch[name], found) for name in names}
        return {name: values[places.reshape(-1)] for name, values in taken.items()}

    def place(self, row: int) -> str:
        return f"row {row}"

    def _one_by_one(
        self, source: Any, rows: np.ndarray, names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        taken = {
            name: np.empty((len(rows), *self.fields[name].shape), self.fields[name].dtype)
            for name in names
        }
        numbers = rows.tolist()
        several = getattr(source, "__getitems__", None)
        records = several(numbers) if several is not None else map(source.__getitem__, numbers)
        for i, (row, record) in enumerate(zip(numbers, records, strict=True)):
            for name in names:
                taken[name][i] = self._value(name, record, row)
        return taken

    def _value(self, name: str, record: Any, row: int) -> np.ndarray:
        """Returns an entry of one record, which must be of the form of the first."""
        if not isinstance(record, Mapping) or name not in record:
            mapping = isinstance(record, Mapping)
            held = f"has {sorted(record)}" if mapping else f"is a {type(record).__name__}"
            raise ValueError(
                f"row {row} {held}, and row 0 has {name!r}; give all rows the same entries"
            )
        if record[name] is None:
            raise ValueError(
                f"row {row}: {name!r} is missing (None); fill or drop such rows before"
            )
        value = np.asarray(detached(record[name]))
        field = self.fields[name]
        if value.shape != field.shape or value.dtype != field.dtype:
            raise ValueError(
                f"row {row}: {name!r} is {Field(value.shape, value.dtype)}, in row 0 it is "
                f"{field}; make all rows alike"
            )
        return value

    def _checked(self, name: str, values: Any, rows: np.ndarray) -> np.ndarray:
        """Returns an entry of a batch, whose rows must be of the form of the first."""
        field = self.fields[name]
        try:
            array = np.asarray(detached(values))
        except ValueError:  # rows of different shapes
            array = np.empty(len(values), object)
        if array.shape == (len(rows), *field.shape) and array.dtype == field.dtype:
            return array
        for row, value in zip(rows.tolist(), values, strict=False):
            # One missing value gives a whole column another type, so that only the record tells.
            alone = array.dtype.hasobject or array.dtype == field.dtype
            self._value(name, {name: value} if alone else self._source[row], row)
        raise ValueError(
            f"rows {rows[0]} to {rows[-1]}: {name!r} is {Field(array.shape, array.dtype)}, and "
            f"{len(rows)} rows like row 0 are {Field((len(rows), *field.shape), field.dtype)}; "
            "source[rows] must hold what source[row] gives"
        )


def _check_format(who: str, source: Any) -> None:
    if not hasattr(source, "with_format") or not hasattr(source, "format"):
        return
    kind = source.format.get("type") if isinstance(source.format, Mapping) else source.format
    if kind != "numpy":
        raise TypeError(
            f"{who}: the {type(source).__name__} gives rows in the format {kind!r}; write "
            'dataset.with_format("numpy")'
        )


def _check_group(who: str, source: Any) -> None:
    """Raises TypeError where it has entries by name, as zarr's groups have."""
    if callable(getattr(type(source), "keys", None)):
        raise TypeError(
            f"{who}: the {type(source).__name__} has entries by name and is no dict; write "
            "{name: group[name] for name in group}"
        )


def _check_record(who: str, source: Any, record: Any) -> None:
    kind = type(source).__name__
    if isinstance(record, tuple | list):
        raise TypeError(
            f"{who}: the rows of the {kind} are {type(record).__name__}s of {len(record)}, which "
            f"do not say what is what; let them be {_ENTRIES}"
        )
    if not isinstance(record, Mapping) or not all(isinstance(name, str) for name in record):
        raise TypeError(
            f"{who}: the rows of the {kind} are of type {type(record).__name__}; let them be "
            f"{_ENTRIES}"
        )
    if not record:
        raise ValueError(f"{who}: the rows of the {kind} are empty; let them be {_ENTRIES}")


def _batched(source: Any, rows: int) -> Callable[[Any, np.ndarray], Any] | None:
    """Returns a function that reads several rows at once, as a dict of arrays; None where the
    source does not, which only trying tells."""
    tried = np.unique([0, rows // 2, rows - 1])
    for as_list in (False, True):
        read = functools.partial(_read, as_list)
        try:
            batch = read(source, tried)
            alone = [source[int(row)] for row in tried]
            array = lambda value: np.asarray(detached(value))
            if all(
                _same(array(batch[name]), [array(record[name]) for record in alone])
                for name in alone[0]
            ):
                return read
        except Exception:  # of another library, which was asked for what it may not have
            continue
    return None


def _read(as_list: bool, source: Any, rows: np.ndarray) -> Any:
    return source[rows.tolist() if as_list else rows]


def _same(batch: np.ndarray, rows: list[np.ndarray]) -> bool:
    """Whether a batch holds these rows, in their shape and dtype."""
    return (
        batch.dtype == rows[0].dtype
        and batch.shape == (len(rows), *rows[0].shape)
        and all(np.array_equal(a, b) for a, b in zip(batch, rows, strict=True))
    )
