"""Arrays held once on the device, with the indices of training and validation rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.convert import to_array
from vtune.data.memory_entry import MemoryEntry
from vtune.data.order import by_place, cut_out, rows_at, shuffle_words, shuffled
from vtune.data.statistics import Statistics, statistics
from vtune.types import Array, IntArray, float_dtype
from vtune.validation import check_count

Scaling = tuple[np.ndarray, np.ndarray]  # (shift, factor): scaled = (values - shift) / factor


@jax.tree_util.register_pytree_node_class
class Data:
    """Arrays by name, each `[rows, ...]`, with the indices of training and validation rows.

    Make one with `vt.holdout` or `vt.from_splits`. The program takes it as an argument and gathers
    batches by index, so nothing is copied for each member. Data are a value: what is written later
    into the arrays that they were made of does not reach them.

    Attributes:
      arrays: dict of device arrays, all with the same leading axis.
      train: [train rows] int32, indices into the arrays.
      valid: [validation rows] int32, none of them in `train`.
      scaling: by name (shift, factor) of entries that were scaled, see `vt.standardize`. They are
        on the host and not part of the program.
      test: [test rows], indices of the rows that neither train nor choose, on the host and not
        part of the program; None where none were held out. See `Sweep.evaluate`.
      remainders: by name what the cast to the arrays' dtype took away from values that are best
        scaled before it, on the host (see `vtune.data.precision`).
      columns: by name the columns of entries that were data frames. On the host, too.
      folded: whether batches have an axis of folds.
      batch_size: rows of a batch of data that come in batches, see `vt.stream`; else None.
      repeats: whether the training rows of an epoch can be had again.
      begins_again: whether they can be read from the first batch again, though others may come.
      on_host: whether the rows stay on the host and are sent to the program chunk by chunk.
    """

    folded = False
    batch_size: int | None = None
    repeats = True
    begins_again = True
    on_host = False
    test: np.ndarray | None = None

    def __init__(
        self,
        arrays: dict[str, Any],
        train: Any,
        valid: Any,
        scaling: Mapping | None = None,
        remainders: Mapping[str, np.ndarray] | None = None,
        columns: Mapping[str, tuple[str, ...]] | None = None,
    ):
        self.arrays = arrays
        self.train = train
        self.valid = valid
        self.scaling = dict(scaling or {})
        self.remainders = dict(remainders or {})
        self.columns = dict(columns or {})

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return (self.arrays, self.train, self.valid), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> Data:
        return cls(*children)

    def rows(self, seed: Any, epoch: Any, batch_size: int) -> IntArray[Array, "steps batch"]:
        """Returns the training rows of one epoch, batch by batch.

        All training follows this rule: the rows are shuffled anew in every epoch, and the tail that
        does not fill a batch is left out. Up to two million training rows are permuted by
        `jax.random.permutation`; more are shuffled by a keyed bijection of their places, of which
        each batch can be computed alone.

        Args:
          seed: of the sweep.
          epoch: counted from 0.
          batch_size: number of rows a step.

        Returns:
          Indices into the arrays, which depend on seed, epoch and batch size only.
        """
        check_count("rows: batch_size", batch_size)
        steps = self.train.shape[0] // batch_size
        return self.order(seed, epoch)[: steps * batch_size].reshape(steps, batch_size)

    def order(self, seed: Any, epoch: Any) -> IntArray[Array, rows]:
        """Returns all training rows in the order of an epoch; `rows` cuts it into batches."""
        if by_place(self.train.shape[0]):
            every = np.arange(self.train.shape[0], dtype=np.int32)
            return self._rows_at(self._words(seed, epoch), every)
        return shuffled(seed, epoch, self.train)

    def epoch_rows(self, seed: Any, epoch: Any, batch_size: int) -> Array:
        """Returns what `chunk_rows` takes the rows of an epoch from.

        It is the rows themselves, or what the shuffle needs where there are many.
        """
        if by_place(self.train.shape[-1]):
            return self._words(seed, epoch)
        return self.rows(seed, epoch, batch_size)

    def chunk_rows(self, epoch_rows: Array, first: Array, count: int, batch_size: int) -> Array:
        """Returns consecutive batches of an epoch, [count, batch], or [folds, count, batch].

        The epoch's last batch stands for those beyond it, which are not trained.

        Args:
          epoch_rows: as `epoch_rows` returns them.
          first: the number of the first batch in its epoch; [folds] where folds have their own.
        """
        if not by_place(self.train.shape[-1]):
            return cut_out(epoch_rows, first, count)
        last = self.steps_per_epoch(batch_size) - 1
        steps = jnp.minimum(jnp.add.outer(first, np.arange(count, dtype=np.int32)), last)
        places = jnp.add.outer(steps * batch_size, np.arange(batch_size, dtype=np.int32))
        return self._rows_at(epoch_rows, places)

    def _words(self, seed: Any, epoch: Any) -> Array:
        """Returns the key data of a shuffle place by place."""
        return shuffle_words(seed, 0, epoch)

    def _rows_at(self, words: Array, places: Any) -> Array:
        """Returns the training rows at some places of a shuffle."""
        return rows_at(words, places, self.train, self.train.shape[0])

    def replace(
        self, arrays: dict[str, Any], scaling: Mapping, centers: Mapping | None = None
    ) -> Self:
        """Returns the same rows of other arrays; `centers` is for data in folds."""
        del centers
        data = copy.copy(self)
        data.arrays, data.scaling = arrays, dict(scaling)
        data.remainders = {k: lost for k, lost in self.remainders.items() if k not in scaling}
        return data

    def with_test(self, rows: np.ndarray | None) -> Self:
        """Returns the same data with these test rows."""
        data = copy.copy(self)
        data.test = rows
        return data

    def scored_on(self, rows: np.ndarray) -> Self:
        """Returns the same data with these as validation rows."""
        data = copy.copy(self)
        data.valid = self._index(rows)
        return data

    def _index(self, rows: np.ndarray) -> Any:
        """Returns row numbers as these data hold them."""
        return jax.device_put(np.asarray(rows, np.int32))

    @property
    def traced_sizes(self) -> Array | None:
        """The number of training rows of every fold [folds], if these are program arguments.

        Then the number of steps is traced too. None if the program is compiled for fixed sizes.
        """
        return None

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the number of full batches in an epoch, of data in folds in the largest fold."""
        return self.train_rows // batch_size

    def steps_by_fold(self, batch_size: int) -> Any:
        """Returns the full batches in an epoch of every fold; None where all have as many.

        A tuple of numbers, or an array [folds] where `traced_sizes` are.
        """
        del batch_size
        return None

    def traced_lengths(self, batch_size: int, epochs: int) -> dict[str, np.int32]:
        """Returns `steps_per_epoch` and `total_steps` by name where they are traced, else {}."""
        del batch_size, epochs
        return {}

    @property
    def train_rows(self) -> int:
        """The number of training rows."""
        return self.train.shape[0]

    @property
    def valid_rows(self) -> int:
        """The number of validation rows."""
        return self.valid.shape[0]

    def first_rows(self, batch_size: int) -> Array:
        """Returns the first training rows [batch] in stored order."""
        return self.train[:batch_size]

    def evaluation(self, size: int) -> tuple[Array, Array]:
        """Returns validation rows and their weights, both [batches, size].

        The last batch is filled up with the first rows, whose weight is 0 there.
        """
        batches = -(-self.valid_rows // size)
        position = np.arange(batches * size)
        index = jnp.take(self.valid, position % self.valid_rows)
        weight = jnp.asarray((position < self.valid_rows).reshape(batches, size), float_dtype())
        return index.reshape(batches, size), weight

    def take(self, rows: Array) -> dict[str, Array]:
        """Gathers rows of every array; the results have the leading axes of `rows`."""
        return self._gathered(rows)

    def _gathered(self, rows: Any) -> dict[str, Any]:
        return {k: jnp.take(v, rows, axis=0, mode="clip") for k, v in self.arrays.items()}

    def scale(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Scales new rows as these were scaled.

        Raises:
          TypeError, ValueError: they are no arrays by name, no numbers, or rows of another shape.
        """
        return apply_scaling(self.scaling, new_rows(self.scaling, arrays))

    def unscale(self, name: str, values: Any, fold: int | None = None) -> Any:
        """Returns values of a scaled entry in its original units, such as predictions of it.

            rmse = vt.metrics.rmse(
                output=lambda out: data.unscale("y", out),
                target=lambda batch: data.unscale("y", batch["y"]),
            )

        Of data in folds, which a metric cannot tell apart, predictions are [folds, seeds, rows]:

            [data.unscale("y", values, fold) for fold, values in enumerate(sweep.predict(x))]

        Args:
          values: an array whose last axes are those of a row of the entry.
          fold: whose scaling. Data in folds need it.

        Returns:
          The values in float64, on the host; in a traced function in the program's type.

        Raises:
          ValueError: the entry is not scaled, or there is no such fold.
        """
        if name not in self.scaling:
            raise ValueError(f"unscale: {name!r} is not scaled; those are {list(self.scaling)}")
        traced = isinstance(values, jax.core.Tracer)
        values = values if traced else to_array("unscale", name, values).astype(np.float64)
        scaling = self._scaling_of(name, fold)
        _check_like("unscale", name, values, scaling)
        shift, factor = (
            part.astype(float_dtype() if traced else np.float64).reshape(
                (1,) * (values.ndim - part.ndim) + part.shape
            )
            for part in map(np.asarray, scaling)
        )
        return values * factor + shift

    def _scaling_of(self, name: str, fold: Any) -> Scaling:
        """Returns the scaling of an entry; `fold` is for data in folds."""
        del fold
        return self.scaling[name]

    def _fit_scaling(
        self, name: str, fit: Callable[[Statistics], Scaling]
    ) -> tuple[Any, Scaling, np.ndarray | None]:
        """Fits a scaling to the training rows of an entry, in float64, as the rows were given.

        Args:
          fit: statistics of the training rows -> (shift, factor).

        Returns:
          The entry as it is now held, (shift, factor), and what was subtracted from the entry
          before its cast, None where it is scaled itself.
        """
        entry = self._entry(name)
        (found,) = statistics(entry.as_given, entry.shape, [np.asarray(self.train)])
        scaling = fit(found)
        return entry.changed(scaling, None), scaling, None

    def _entry(self, name: str) -> Any:
        """Returns what reads an entry as it was given: a `MemoryEntry`, or a `HostEntry`."""
        return MemoryEntry(np.asarray(self.arrays[name]), self.remainders.get(name))

    @property
    def row_bytes(self) -> int:
        """The bytes of one row in all arrays together."""
        return sum(
            int(np.prod(v.shape[1:], dtype=np.int64)) * v.dtype.itemsize
            for v in self.arrays.values()
        )

    def __repr__(self) -> str:
        arrays = ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self.arrays.items())
        test = "" if self.test is None else f", test {len(self.test)}"
        return f"Data({arrays}; train {len(self.train)} rows, valid {len(self.valid)}{test})"


def new_rows(scaling: Mapping[str, Scaling], arrays: Any) -> dict[str, Any]:
    """Returns the entries with those that are scaled as arrays of numbers."""
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f'scale: {type(arrays).__name__} is not a dict of arrays; write data.scale({{"x": X}})'
        )
    rows = {k: to_array("scale", k, v) if k in scaling else v for k, v in arrays.items()}
    for name in set(scaling) & set(rows):
        _check_like("scale", name, rows[name], scaling[name])
    return rows


def _check_like(who: str, name: str, values: Any, scaling: Scaling) -> None:
    """Raises ValueError where values are not those of rows of a scaled entry."""
    row = np.shape(scaling[0])
    try:
        np.broadcast_shapes(values.shape, row)
    except ValueError:
        raise ValueError(
            f"{who}: {name!r} has shape {list(values.shape)}; a row of it is {list(row)}"
        ) from None


def apply_scaling(scaling: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Scales new rows by `Data.scaling`; entries that are not in it stay unchanged."""
    return {
        name: _apply(np.asarray(array), scaling[name]) if name in scaling else array
        for name, array in arrays.items()
    }


def _apply(array: np.ndarray, scaling: Scaling) -> np.ndarray:
    shift, factor = scaling
    return ((array.astype(np.float64) - shift) / factor).astype(float_dtype())
