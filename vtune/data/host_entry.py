"""One entry of data on the host: its rows are read, checked, cast and scaled when asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.blocks import blocks, rows_of_block
from vtune.data.convert import native
from vtune.data.sources.table import Table
from vtune.types import float_dtype

SMALL = 8  # bytes of a row: such entries, as labels, weights and ids, may be read whole


@dataclasses.dataclass(frozen=True, eq=False)
class HostEntry:
    """An entry of a table, as the program gets it.

    Attributes:
      dtype: in which the program gets it.
      remainders: whether what the cast takes away counts where it is scaled, see
        `vtune.data.precision`.
      scaling: (shift, factor), None where it is not scaled here.
      center: what is subtracted before the cast, None where nothing is.
    """

    table: Table
    name: str
    dtype: np.dtype
    remainders: bool = False
    scaling: tuple[np.ndarray, np.ndarray] | None = None
    center: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.table.rows, *self.table.fields[self.name].shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def given(self) -> np.dtype:
        """The dtype in which the source has it."""
        return self.table.fields[self.name].dtype

    @property
    def is_small(self) -> bool:
        """Whether it may be read whole: its rows are small and are read without other entries."""
        one = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        return self.table.by_entry and one <= SMALL

    def __len__(self) -> int:
        return self.table.rows

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            f"{self.name!r} lies on the host and is read by rows: data.arrays[{self.name!r}]"
            '.take(rows); write on="device" where the data are made, so that it is an array'
        )

    def take(self, rows: Any) -> np.ndarray:
        """Reads rows; the result has the leading axes of `rows`."""
        rows = np.asarray(rows)
        given = self.table.take(rows.reshape(-1), [self.name])[self.name]
        return self.prepared(given, rows.reshape(-1)).reshape(*rows.shape, *self.shape[1:])

    def whole(self) -> np.ndarray:
        """Reads all rows."""
        array = np.empty(self.shape, self.dtype)
        for rows in self.blocks():
            array[rows] = self.take(rows)
        return array

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields all rows in blocks."""
        return blocks(len(self), rows_of_block(self.shape))

    def prepared(self, given: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns rows that were read as the program gets them."""
        cast = self._cast(given, rows)
        if self.scaling is None and self.center is None and self.dtype == cast.dtype:
            return cast
        values = self._in_float64(native(given), cast)
        if self.center is not None:
            values = values - self.center
        if self.scaling is not None:
            shift, factor = self.scaling
            values = (values - shift) / factor
        return values.astype(self.dtype)

    def as_given(self, rows: np.ndarray) -> np.ndarray:
        """Reads rows in float64, with as much of what the cast takes away as data in memory
        keep."""
        given = self.table.take(rows, [self.name])[self.name]
        return self._in_float64(native(given), self._cast(given, rows))

    def changed(
        self, scaling: tuple[np.ndarray, np.ndarray] | None, center: np.ndarray | None
    ) -> HostEntry:
        """Returns the entry in the program's float type, scaled or less a center when it is
        read."""
        return dataclasses.replace(self, dtype=float_dtype(), scaling=scaling, center=center)

    def uncast(self, rows: np.ndarray) -> np.ndarray:
        """Reads rows as the source has them."""
        return native(self.table.take(rows, [self.name])[self.name])

    def _in_float64(self, given: np.ndarray, cast: np.ndarray) -> np.ndarray:
        values = cast.astype(np.float64)
        if not self.remainders:
            return values
        return values + (given - values).astype(np.float32)

    def _cast(self, given: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Casts rows to the dtype in which JAX holds such numbers.

        Raises:
          ValueError: some are NaN, infinite, or beyond that dtype.
        """
        given = native(given)
        kept = jax.dtypes.canonicalize_dtype(given.dtype)
        if given.dtype.kind in "iu" and kept != given.dtype:
            range_of = np.iinfo(kept)
            self._check(given, (given >= range_of.min) & (given <= range_of.max), kept, rows)
            return given.astype(kept)
        with np.errstate(over="ignore"):
            cast = given.astype(kept, copy=False)
        if jnp.issubdtype(kept, jnp.inexact):
            # NumPy does not know bfloat16
            finite = np.isfinite(cast if kept.kind in "fc" else cast.astype(np.float32))
            self._check(given, finite, kept, rows)
        return cast

    def _check(self, given: np.ndarray, fine: np.ndarray, kept: Any, rows: np.ndarray) -> None:
        if fine.all():
            return
        at = np.argwhere(~fine)[0]
        value, row = given[tuple(at)], self.table.place(int(rows[at[0]]))
        if given.dtype.kind not in "iu" and not np.isfinite(value.astype(np.complex128)):
            raise ValueError(f"{self.name!r} holds {value} in {row}; fill or drop such rows before")
        raise ValueError(
            f"{self.name!r} holds {value:g} in {row}, beyond {kept}; scale it or set jax_enable_x64"
        )


def whole(entry: Any) -> np.ndarray:
    """Returns an entry of any data as an array in memory."""
    return entry.whole() if isinstance(entry, HostEntry) else np.asarray(entry)
