"""Data in folds for cross-validation: each fold has its own training and validation rows.

The arrays are held once. Folds are row indices, so a fold never sees the rows it holds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.dataset import Data, Scaling, apply_scaling, new_rows
from vtune.data.order import by_place, rows_at, shuffle_words, shuffled_fold
from vtune.data.precision import center_of
from vtune.data.statistics import Statistics, statistics
from vtune.types import Array, IntArray, float_dtype
from vtune.validation import check_count, is_whole


@jax.tree_util.register_pytree_node_class
class Folds(Data):
    """Arrays by name, each `[rows, ...]`, with training and validation rows of every fold.

    Make one with `vt.kfold`. Folds may differ in size: an epoch of a fold is as many steps as that
    fold has full batches.

    Attributes:
      arrays: dict of device arrays, all with the same leading axis.
      train: [folds, most training rows] int32, each fold's indices, padded with its first one.
      valid: [folds, most validation rows] int32, padded in the same way.
      train_sizes, valid_sizes: number of rows of every fold without the padding, on the host.
      scaling: by name (shift, factor), each [folds, ...], of entries that were scaled, see
        `vt.standardize`: each fold by its own training rows. On the host, in float64.
      centers: by name what was subtracted from a scaled entry before it was cast, the same for all
        rows, where its values lie far from 0 for how little they differ.
      common: whether all members and folds draw from one key, that of member 0 in fold 0, for
        their weights, row order and noise (common random numbers).
    """

    folded = True

    def __init__(
        self,
        arrays: dict[str, Any],
        train: Any,
        valid: Any,
        train_sizes: tuple[int, ...],
        valid_sizes: tuple[int, ...],
        scaling: Mapping | None = None,
        remainders: Mapping[str, np.ndarray] | None = None,
        centers: Mapping[str, np.ndarray] | None = None,
        common: bool = False,
        columns: Mapping[str, tuple[str, ...]] | None = None,
    ):
        super().__init__(arrays, train, valid, scaling, remainders, columns)
        self.centers = dict(centers or {})
        self.common = common
        self.train_sizes = train_sizes
        self.valid_sizes = valid_sizes

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        return (self.arrays, self.train, self.valid, self.scaling_held()), (
            self.train_sizes,
            self.valid_sizes,
            self.common,
        )

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> Folds:
        arrays, train, valid, scaling = children
        return cls(arrays, train, valid, aux[0], aux[1], scaling, common=aux[2])

    def scaling_held(self) -> dict[str, Any]:
        """The scaling of the entries as they are held, in the program's dtype."""
        cast = lambda a: a.astype(float_dtype()) if isinstance(a, np.ndarray) else a
        held = {}
        for name, (shift, factor) in self.scaling.items():
            center = self.centers.get(name)
            held[name] = (cast(shift if center is None else shift - center), cast(factor))
        return held

    def replace(
        self, arrays: dict[str, Any], scaling: Mapping, centers: Mapping | None = None
    ) -> Self:
        """Returns the same folds of other arrays."""
        data = super().replace(arrays, scaling)
        data.centers = {**self.centers, **(centers or {})}
        return data

    def scored_on(self, rows: np.ndarray) -> Self:
        """Returns the same data with these as the validation rows of every fold."""
        data = super().scored_on(np.broadcast_to(rows, (self.folds, len(rows))))
        data.valid_sizes = (len(rows),) * self.folds
        return data

    def scale(self, arrays: Mapping[str, Any], fold: int = 0) -> dict[str, Any]:
        """Scales new rows as those of one fold are scaled."""
        own = {name: self._scaling_of(name, fold) for name in self.scaling}
        return apply_scaling(own, new_rows(own, arrays))

    def _scaling_of(self, name: str, fold: Any) -> Scaling:
        """Returns the scaling of an entry in one fold."""
        if not is_whole(fold) or not 0 <= fold < self.folds:
            raise ValueError(
                f"{name!r} is scaled by the training rows of each fold; say which of 0 to "
                f"{self.folds - 1}, got fold={fold!r}: [data.unscale({name!r}, values, fold) for "
                "fold, values in enumerate(sweep.predict(x))]"
            )
        shift, factor = self.scaling[name]
        return shift[fold], factor[fold]

    def _fit_scaling(
        self, name: str, fit: Callable[[Statistics], Scaling]
    ) -> tuple[Any, Scaling, np.ndarray | None]:
        """Fits a scaling of an entry to the training rows of every fold, see `Data._fit_scaling`.

        Returns:
          The entry unscaled, since `take` scales the gathered rows; (shift, factor), each
          [folds, ...]; and its center, if it has one.
        """
        entry = self._entry(name)
        parts = [self.fold(number)[0] for number in range(self.folds)]
        by_fold = map(fit, statistics(entry.as_given, entry.shape, parts))
        shift, factor = (np.stack(part) for part in zip(*by_fold, strict=True))
        center = center_of(entry.as_given, entry.shape)
        return entry.changed(None, center), (shift, factor), center

    @property
    def folds(self) -> int:
        """The number of folds."""
        return len(self.train_sizes)

    @property
    def train_rows(self) -> int:
        """The number of training rows of the smallest fold."""
        return min(self.train_sizes)

    @property
    def valid_rows(self) -> int:
        """The number of validation rows of the largest fold."""
        return max(self.valid_sizes)

    @property
    def row_bytes(self) -> int:
        """The bytes of one row of every fold in all arrays together."""
        return self.folds * super().row_bytes

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the full batches in an epoch of the largest fold."""
        return max(self.train_sizes) // batch_size

    def steps_by_fold(self, batch_size: int) -> Any:
        """Returns the full batches in an epoch of every fold; None where all have as many."""
        steps = tuple(size // batch_size for size in self.train_sizes)
        return None if len(set(steps)) == 1 else steps

    def rows(self, seed: Any, epoch: Any, batch_size: int) -> IntArray[Array, "folds steps batch"]:
        """Returns the training rows of one epoch of every fold, batch by batch.

        Each fold is shuffled differently, and all members share the shuffle. Rows that do not fill
        a batch are left out of the epoch. The steps are those of the largest fold; of a smaller
        one only the first `train_sizes[fold] // batch_size` are trained.

        Args:
          seed, batch_size: as for `Data.rows`.
          epoch: counted from 0; or [folds], one of every fold.
        """
        check_count("rows: batch_size", batch_size)
        steps = self.steps_per_epoch(batch_size)
        order = self.order(seed, epoch)[:, : steps * batch_size]
        return order.reshape(self.folds, steps, batch_size)

    def order(self, seed: Any, epoch: Any) -> IntArray[Array, "folds rows"]:
        """Returns the training rows of every fold in the order of an epoch, padding last."""
        most = self.train.shape[1]
        if by_place(most):
            return self._rows_at(self._words(seed, epoch), np.arange(most, dtype=np.int32))

        def of_fold(fold: Array, train: Array, size: Array, epoch: Any) -> Array:
            return shuffled_fold(seed, 0 if self.common else fold, epoch, train, size)

        sizes = jnp.asarray(self.train_sizes, jnp.int32)
        lifted = jax.vmap(of_fold, in_axes=(0, 0, 0, 0 if jnp.ndim(epoch) else None))
        return lifted(jnp.arange(self.folds), self.train, sizes, epoch)

    def _words(self, seed: Any, epoch: Any) -> Array:
        """Returns the key data of a shuffle place by place of every fold [folds, 2]."""
        folds = jnp.zeros(self.folds, jnp.int32) if self.common else jnp.arange(self.folds)
        return jax.vmap(shuffle_words, (None, 0, 0 if jnp.ndim(epoch) else None))(
            seed, folds, epoch
        )

    def _rows_at(self, words: Array, places: Any) -> Array:
        """Returns the training rows at some places of every fold's shuffle.

        Args:
          places: the same of all folds; or [folds, count, batch], their own.
        """
        sizes = jnp.asarray(self.train_sizes, jnp.int32)
        return jax.vmap(rows_at, (0, 0 if places.ndim == 3 else None, 0, 0))(
            words, places, self.train, sizes
        )

    def first_rows(self, batch_size: int) -> Array:
        """Returns the first training rows [folds, batch] in stored order."""
        return self.train[:, :batch_size]

    def evaluation(self, size: int) -> tuple[Array, Array]:
        """Returns validation rows and their weights, both [batches, folds, size].

        What a fold's rows do not fill is filled up with its first rows, whose weight is 0 there.
        """
        batches = -(-self.valid_rows // size)
        position = jnp.arange(batches * size, dtype=jnp.int32)[None]
        sizes = jnp.asarray(self.valid_sizes, jnp.int32)[:, None]
        places = position % jnp.maximum(sizes, 1)
        index = jnp.take_along_axis(jnp.asarray(self.valid), places, axis=1)
        is_row = position < sizes
        shape = (self.folds, batches, size)
        weight = jnp.asarray(is_row.reshape(shape), float_dtype())
        return jnp.moveaxis(index.reshape(shape), 1, 0), jnp.moveaxis(weight, 1, 0)

    def take(self, rows: Array) -> dict[str, Array]:
        """Gathers rows [folds, ...] of every array; each fold's rows are scaled by its scaling."""
        return scaled_by_fold(super().take(rows), self.scaling_held(), rows.ndim)

    def fold(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (training rows, validation rows) of one fold, on the host.

        Raises:
          IndexError: there is no such fold.
        """
        if not is_whole(number) or not -self.folds <= number < self.folds:
            raise IndexError(f"there is no fold {number!r}: the data have {self.folds}, from 0 on")
        train, valid = np.asarray(self.train)[number], np.asarray(self.valid)[number]
        return train[: self.train_sizes[number]], valid[: self.valid_sizes[number]]

    def __repr__(self) -> str:
        arrays = ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self.arrays.items())
        test = "" if self.test is None else f", test {len(self.test)}"
        span = lambda sizes: " to ".join(str(n) for n in sorted({min(sizes), max(sizes)}))
        return (
            f"Folds({arrays}; {self.folds} folds, train {span(self.train_sizes)} rows, valid "
            f"{span(self.valid_sizes)}{test})"
        )


def scaled_by_fold(
    taken: dict[str, Array], scaling: Mapping[str, Scaling], axes: int
) -> dict[str, Array]:
    """Returns rows [folds, ..., row's own axes] scaled, each fold's by its scaling.

    Args:
      scaling: by name (shift, factor), each [folds, ...]. axes: those before a row's own.
    """
    scaled = dict(taken)
    for name, parts in scaling.items():
        shift, factor = (
            jnp.asarray(a, float_dtype()).reshape((len(a), *[1] * (axes - 1), *a.shape[1:]))
            for a in parts
        )
        scaled[name] = (taken[name].astype(shift.dtype) - shift) / factor
    return scaled
