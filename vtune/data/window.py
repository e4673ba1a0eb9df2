"""Rows of data on the host that are on the device now: what enters the program in their place."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.dataset import Data
from vtune.data.folds import scaled_by_fold
from vtune.types import Array, float_dtype


class FoldSizes(NamedTuple):
    """Training and validation rows of every fold."""

    train: tuple[int, ...]
    valid: tuple[int, ...]


class Leading(NamedTuple):
    """The rows that a window begins with: so many batches of one size."""

    batches: int
    batch_size: int


@jax.tree_util.register_pytree_node_class
class Window(Data):
    """Some rows of data that stay on the host, in the order in which the program takes them.

    The engine asks it what it asks `Data`; the rows that it takes are counted from the window's
    first one.

    Attributes:
      arrays: by name [rows, ...]; of data in folds [folds, rows, ...].
      scaling: by name (shift, factor), each [folds, ...], of entries that the program scales.
      sizes: of data in folds, the rows of every fold; None where there are no folds.
      common: see `Folds`.
    """

    on_host = True

    def __init__(
        self,
        arrays: dict[str, Any],
        scaling: dict[str, Any],
        train_rows: int,
        valid_rows: int,
        sizes: FoldSizes | None = None,
        common: bool = False,
    ):
        super().__init__(arrays, None, None, scaling)
        self._train_rows, self._valid_rows = train_rows, valid_rows
        self.sizes, self.common = sizes, common

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        return (self.arrays, self.scaling), self._static

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> Window:
        return cls(*children, *aux)

    def filled(self, arrays: dict[str, Any]) -> Window:
        """Returns the window with other rows."""
        return Window(arrays, self.scaling, *self._static)

    @property
    def _static(self) -> tuple[Any, ...]:
        return self.train_rows, self.valid_rows, self.sizes, self.common

    @property
    def folded(self) -> bool:  # type: ignore[override]
        """Whether batches have an axis of folds."""
        return self.sizes is not None

    @property
    def train_rows(self) -> int:
        """Training rows of the data, in folds of the smallest one."""
        return self._train_rows

    @property
    def valid_rows(self) -> int:
        """Validation rows of the data, in folds of the largest one."""
        return self._valid_rows

    @property
    def folds(self) -> int:
        """The number of folds, 1 where there are none."""
        return 1 if self.sizes is None else len(self.sizes.train)

    @property
    def size(self) -> int:
        """The rows that it holds, of every fold."""
        return next(iter(self.arrays.values())).shape[1 if self.folded else 0]

    @property
    def row_bytes(self) -> int:
        """The bytes of one row, of every fold, in all arrays together."""
        axes = 2 if self.folded else 1
        return self.folds * sum(
            int(np.prod(leaf.shape[axes:], dtype=np.int64)) * leaf.dtype.itemsize
            for leaf in self.arrays.values()
        )

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the full batches in an epoch, of data in folds in the largest fold."""
        most = self.train_rows if self.sizes is None else max(self.sizes.train)
        return most // batch_size

    def steps_by_fold(self, batch_size: int) -> Any:
        """Returns the full batches in an epoch of every fold; None where all have as many."""
        if self.sizes is None:
            return None
        steps = tuple(rows // batch_size for rows in self.sizes.train)
        return None if len(set(steps)) == 1 else steps

    def batches(self, count: int, batch_size: int) -> Array:
        """Returns the places of its first rows, [count, batch], or [folds, count, batch]."""
        places = jnp.arange(count * batch_size, dtype=jnp.int32).reshape(count, batch_size)
        return jnp.broadcast_to(places, (self.folds, *places.shape)) if self.folded else places

    def first_rows(self, batch_size: int) -> Array:
        """Returns the places of the first training rows, [batch], or [folds, batch]."""
        return self.batches(1, batch_size)[..., 0, :]

    def weights(self, first: Any, count: int, size: int) -> Array:
        """Returns the weights of `count` validation batches from `first` on, [count, size], or
        [count, folds, size]: 0 for rows that fill up the last one."""
        position = jnp.int32(size) * first + jnp.arange(count * size, dtype=jnp.int32)
        if self.sizes is None:
            return jnp.asarray((position < self.valid_rows).reshape(count, size), float_dtype())
        is_row = position[None] < jnp.asarray(self.sizes.valid, jnp.int32)[:, None]
        weights = jnp.asarray(is_row.reshape(self.folds, count, size), float_dtype())
        return jnp.moveaxis(weights, 1, 0)

    def evaluation(self, size: int) -> tuple[Array, Array]:
        """Returns places and weights of all validation rows as if they were here, for shapes."""
        batches = -(-self.valid_rows // size)
        places = self.batches(batches, size)
        weights = self.weights(jnp.int32(0), batches, size)
        return jnp.moveaxis(places, 1, 0) if self.folded else places, weights

    def take(self, rows: Array | Leading) -> dict[str, Array]:
        """Gathers rows of the window, [...] of every fold where there are folds, and scales them.

        Args:
          rows: places; in folds [folds, ...]. Those that it begins with are not copied.
        """
        if isinstance(rows, Leading):
            return self._leading(*rows)
        take = lambda array, rows: jnp.take(array, rows, axis=0, mode="clip")
        if self.sizes is None:
            return {name: take(array, rows) for name, array in self.arrays.items()}
        taken = {name: jax.vmap(take)(array, rows) for name, array in self.arrays.items()}
        return scaled_by_fold(taken, self.scaling, rows.ndim)

    def _leading(self, count: int, batch_size: int) -> dict[str, Array]:
        rows, shape = count * batch_size, (count, batch_size)
        if self.sizes is None:
            return {k: a[:rows].reshape(*shape, *a.shape[1:]) for k, a in self.arrays.items()}
        cut = lambda a: a[:, :rows].reshape(self.folds, *shape, *a.shape[2:])
        return scaled_by_fold({k: cut(a) for k, a in self.arrays.items()}, self.scaling, 3)


def window_of(data: Any, rows: int) -> Window:
    """Returns a window of so many rows of data on the host, as shapes."""
    leading = (data.folds, rows) if data.folded else (rows,)
    arrays = {
        name: jax.ShapeDtypeStruct((*leading, *row.shape), row.dtype)
        for name, row in data.entries().items()
    }
    if not data.folded:
        return Window(arrays, {}, data.train_rows, data.valid_rows)
    sizes = FoldSizes(tuple(data.train_sizes), tuple(data.valid_sizes))
    scaling = data.scaling_held()
    return Window(arrays, scaling, data.train_rows, data.valid_rows, sizes, data.common)
