"""One entry of data in memory, as it is read and made anew where it is scaled."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from vtune.data.blocks import blocks, rows_of_block
from vtune.data.own import aligned_empty
from vtune.types import Array, float_dtype


class MemoryEntry(NamedTuple):
    """An entry, and what its cast took away, see `vtune.data.precision`."""

    array: np.ndarray
    lost: np.ndarray | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def as_given(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows in float64, with what the cast took away."""
        values = self.array[rows].astype(np.float64)
        return values if self.lost is None else values + self.lost[rows]

    def changed(
        self, scaling: tuple[np.ndarray, np.ndarray] | None, center: np.ndarray | None
    ) -> Array:
        """Returns the entry in the program's float type, scaled or less a center."""
        made = aligned_empty(self.shape, float_dtype())
        for rows in blocks(len(self.array), rows_of_block(self.shape)):
            values = self.as_given(rows)
            if center is not None:
                values -= center
            made[rows] = values if scaling is None else (values - scaling[0]) / scaling[1]
        return jax.device_put(made)
