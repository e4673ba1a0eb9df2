"""Columns as a Parquet file, each in the type that its values have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from vtune.visible import in_utf8

WHOLE = 2**63  # the numbers of 64 bits end here


def pyarrow_modules() -> tuple[Any, Any]:
    """Returns pyarrow and the part of it that writes Parquet.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"--format parquet needs pyarrow, which is not there ({error}): "
            "pip install 'vtune[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


def write(columns: Mapping[str, Any], file: IO[bytes]) -> None:
    """Writes columns. Nothing stands where a value is NaN or None.

    Args:
      columns: by name, arrays [rows, ...] or lists of plain values.

    Raises:
      ImportError: pyarrow is not installed. OSError: the file cannot be written.
    """
    pyarrow, parquet = pyarrow_modules()
    arrays = []
    for values in columns.values():
        kind, values = typed(values)
        arrays.append(pyarrow.array(values, _arrow_type(pyarrow, kind)))
    parquet.write_table(pyarrow.table(arrays, names=list(map(in_utf8, columns))), file)


def typed(values: Any) -> tuple[str, list[Any]]:
    """Returns the type of a column and its values as Python's, None where there is none.

    Args:
      values: [rows, ...]; an array keeps its type, of a list it is the one that holds all its
        values: ints and floats are floats, and of other mixtures all are their texts.

    Returns:
      "bool", "int64", "float32", "float64" or "string", after a "list of " for each further axis.
    """
    if isinstance(values, np.ndarray):
        kind = str(values.dtype)
        if values.dtype.kind not in "biu":  # halves, bfloat16 too, are exact in 32 bits
            kind = "float64" if kind == "float64" else "float32"
        wide = values.astype(np.float64) if kind == "float32" else values
        return "list of " * (values.ndim - 1) + kind, _without_nan(wide.tolist())
    values = _without_nan(list(values))
    there = [value for value in values if value is not None]
    if any(isinstance(value, list) for value in there):
        return _typed_lists(values)
    kind = _common(there)
    if kind == "string":
        return kind, [None if v is None else in_utf8(str(v)) for v in values]
    if kind == "float64":
        return kind, [None if v is None else float(v) for v in values]
    return kind, values


def _typed_lists(values: Sequence[Any]) -> tuple[str, list[Any]]:
    """The same of values some of which are lists."""
    if not all(value is None or isinstance(value, list) for value in values):
        return typed([None if value is None else str(value) for value in values])
    kind, parts = typed([part for value in values for part in value or ()])
    left: Iterator[Any] = iter(parts)
    nested = [None if value is None else [next(left) for _ in value] for value in values]
    return f"list of {kind}", nested


def _common(values: Sequence[Any]) -> str:
    """The type that holds plain values, none of which is None or a list."""
    if values and all(isinstance(value, bool) for value in values):
        return "bool"
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numbers or not values:
        return "string"
    if any(isinstance(value, float) for value in values):
        return "float64"
    return "int64" if all(-WHOLE <= value < WHOLE for value in values) else "string"


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and value != value else value


def _arrow_type(pyarrow: Any, kind: str) -> Any:
    if kind.startswith("list of "):
        return pyarrow.list_(_arrow_type(pyarrow, kind.removeprefix("list of ")))
    return pyarrow.bool_() if kind == "bool" else getattr(pyarrow, kind)()
