"""Where data are held: on the device, or on the host."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from vtune import free_memory
from vtune.data.blocks import blocks, rows_of_block
from vtune.data.convert import native_dtype
from vtune.data.host_arrays import host_arrays
from vtune.data.sources.arrays import is_row_source
from vtune.data.sources.records import RecordTable, is_record_source
from vtune.data.sources.table import Table
from vtune.data.validate import check_arrays
from vtune.target import is_first_process, processes

SHARE = 2  # data stay on the host where they are more than 1 / SHARE of what is free


def check_data(who: str, given: Any, on: str | None) -> Any:
    """Returns arrays by name, or a source of records, as `CheckedArrays` or `HostArrays`.

    Args:
      on: as `side` returns it, or as the user wrote it.

    Raises:
      TypeError, ValueError: as `check_arrays` and `host_arrays`; `on` is not allowed.
    """
    if side(who, [given], on) == "host":
        return host_arrays(who, given)
    if is_record_source(given):
        given = _whole(RecordTable(who, given))
    return check_arrays(who, given)


def _whole(table: Table) -> dict[str, np.ndarray]:
    """Reads all rows of a table, a block at a time."""
    fields = table.fields
    made = {n: np.empty((table.rows, *field.shape), field.dtype) for n, field in fields.items()}
    size = min(rows_of_block((table.rows, *field.shape)) for field in fields.values())
    for rows in blocks(table.rows, size):
        for name, values in table.take(rows, list(fields)).items():
            made[name][rows] = values
    return made


def side(who: str, given: Iterable[Any], on: Any) -> str:
    """Returns "device" or "host": what the user wrote, or what the memory that is free says.

    Raises:
      ValueError: `on` is something else.
    """
    if on not in (None, "device", "host"):
        raise ValueError(f'{who}: on={on!r} must be "device", "host", or None, which chooses')
    if on is not None:
        return on
    if processes() > 1:  # which may see different memory, and must choose alike
        return "device"
    free, needed = free_memory.free_bytes(), sum(_bytes(who, part) for part in given)
    if free is None or SHARE * needed <= free:
        return "device"
    if is_first_process():
        logging.getLogger("vtune").info(
            "vtune: the data stay on the host: they take %.1f GiB, and %.1f GiB are free on the "
            'device; on="device" puts them there',
            needed / 2**30,
            free / 2**30,
        )
    return "host"


def _bytes(who: str, given: Any) -> int:
    """Returns the bytes of all entries as JAX holds them; what is no data counts as nothing."""
    if is_record_source(given):
        table = RecordTable(who, given)
        return sum(_bytes_of((table.rows, *f.shape), f.dtype) for f in table.fields.values())
    total = 0
    for value in given.values() if isinstance(given, Mapping) else ():
        if is_row_source(value):
            total += _bytes_of(value.shape, np.dtype(value.dtype))
        elif isinstance(size := getattr(value, "nbytes", 0), int):
            total += size
    return total


def _bytes_of(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape) * jax.dtypes.canonicalize_dtype(native_dtype(dtype)).itemsize
