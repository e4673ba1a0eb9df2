"""Arrays held once on the device, with the indices of training and validation rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.column_names import check_columns, column_names, with_columns
from vtune.data.draw import draw_rows, share_of_rows
from vtune.data.own import CheckedArrays, on_device
from vtune.data.validate import check_arrays
from vtune.rng.keys import row_key
from vtune.types import Array, IntArray, float_dtype
from vtune.validation import check_count
from vtune.xla.ops.rewrite import rewrite

_permuted = jax.jit(rewrite(jax.random.permutation))


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
    """

    folded = False
    test: np.ndarray | None = None

    def __init__(
        self,
        arrays: dict[str, Any],
        train: Any,
        valid: Any,
        scaling: Mapping | None = None,
        remainders: Mapping[str, np.ndarray] | None = None,
    ):
        self.arrays = arrays
        self.train = train
        self.valid = valid
        self.scaling = dict(scaling or {})
        self.remainders = dict(remainders or {})
        self.columns: dict[str, tuple[str, ...]] = {}

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return (self.arrays, self.train, self.valid), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> Data:
        return cls(*children)

    def rows(self, seed: Any, epoch: Any, batch_size: int) -> IntArray[Array, "steps batch"]:
        """Returns the training rows of one epoch, batch by batch.

        All training follows this rule: the rows are shuffled anew in every epoch, and the tail that
        does not fill a batch is left out.

        Args:
          seed: of the sweep.
          epoch: counted from 0.
          batch_size: number of rows a step.

        Returns:
          Indices into the arrays, which depend on seed, epoch and batch size only.
        """
        steps = self.train.shape[0] // batch_size
        order = _permuted(row_key(seed, 0, epoch), self.train)
        return order[: steps * batch_size].reshape(steps, batch_size)

    def replace(
        self, arrays: dict[str, Any], scaling: Mapping, centers: Mapping | None = None
    ) -> Data:
        """Returns the same rows of other arrays; `centers` is for data in folds."""
        kept = self._remainders_but(scaling)
        return with_columns(Data(arrays, self.train, self.valid, scaling, kept), self.columns)

    def with_test(self, rows: np.ndarray | None) -> Self:
        """Returns the same data with these test rows."""
        data = copy.copy(self)
        data.test = rows
        return data

    def scored_on(self, rows: np.ndarray) -> Self:
        """Returns the same data with these as validation rows."""
        data = copy.copy(self)
        data.valid = jax.device_put(np.asarray(rows, np.int32))
        return data

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
        return {k: jnp.take(v, rows, axis=0, mode="clip") for k, v in self.arrays.items()}

    def scale(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Scales new rows as these were scaled."""
        return apply_scaling(self.scaling, arrays)

    def unscale(self, name: str, values: Any, fold: int = 0) -> Any:
        """Returns values of a scaled entry in its original units, such as predictions of it.

            rmse = vt.metrics.rmse(
                output=lambda out: data.unscale("y", out),
                target=lambda batch: data.unscale("y", batch["y"]),
            )

        Args:
          values: an array whose last axes are those of a row of the entry.
          fold: whose scaling, of data in folds.

        Raises:
          ValueError: the entry is not scaled.
        """
        if name not in self.scaling:
            raise ValueError(f"unscale: {name!r} is not scaled; those are {list(self.scaling)}")
        parts = [part[fold] if self.folded else part for part in self.scaling[name]]
        axes = lambda part: (1,) * (np.ndim(values) - np.ndim(part)) + np.shape(part)
        shift, factor = (np.asarray(part, float_dtype()).reshape(axes(part)) for part in parts)
        return values * factor + shift

    def _fit_scaling(
        self, name: str, fit: Callable[[np.ndarray], Scaling]
    ) -> tuple[np.ndarray, Scaling, np.ndarray | None]:
        """Fits a scaling to the training rows of an entry, in float64, as the rows were given.

        Args:
          fit: (training rows [rows, ...]) -> (shift, factor).

        Returns:
          The entry as it is now held, (shift, factor), and what was subtracted from the entry
          before its cast, None where it is scaled itself.
        """
        values = self._as_given(name)
        scaling = fit(values[np.asarray(self.train)])
        return _apply(values, scaling), scaling, None

    def _as_given(self, name: str) -> np.ndarray:
        """Returns an entry in float64, with what its cast took away."""
        values = np.asarray(self.arrays[name], np.float64)
        return values + self.remainders[name] if name in self.remainders else values

    def _remainders_but(self, scaling: Mapping) -> dict[str, np.ndarray]:
        return {name: lost for name, lost in self.remainders.items() if name not in scaling}

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


def holdout(
    arrays: Mapping[str, Any],
    fraction: float = 0.2,
    seed: int = 0,
    stratify: str | None = None,
    test: float | None = None,
) -> Data:
    """Holds a random part of the rows out for validation, and another for a test on request.

    The rows depend on their number, `fraction`, `seed` and the labels of `stratify` alone, so that
    what is made of training rows only, such as a vocabulary, can be made of
    `holdout({"y": labels}, ...).train` before the other arrays are.

    Args:
      arrays: name -> array `[rows, ...]`, all of the same length.
      fraction: share of the rows to hold out, above 0 and below 1; at least one row is held out
        and one kept.
      seed: of the draw.
      stratify: name of an entry of labels `[rows]` whose proportions all parts keep.
      test: share of all rows that neither train nor validate, for `Sweep.evaluate`. The
        validation rows are the same with and without it.

    Raises:
      TypeError, ValueError: the arrays are empty, of different lengths, not numeric or not finite,
        or another argument is not allowed.

    Example:
      >>> import numpy as np
      >>> holdout({"x": np.zeros((10, 3), np.float32), "y": np.zeros(10, np.int32)}, test=0.1)
      Data(x: float32[10, 3], y: int32[10]; train 7 rows, valid 2, test 1)
    """
    checked = check_arrays("holdout", arrays)
    rows = len(next(iter(checked.values())))
    held = share_of_rows("holdout", "fraction", fraction, rows)
    tested = 0 if test is None else share_of_rows("holdout", "test", test, rows)
    check_count("holdout: seed", seed, 0)
    if rows - held - tested < 1 or not held:
        raise ValueError(
            f"holdout: {rows} row{'s' if rows > 1 else ''} cannot be split into {held or 1} for "
            f"validation{f', {tested} to test' if tested else ''} and some to train on; give more "
            "rows, or hold fewer out"
        )
    rng, labels = np.random.default_rng(seed), _stratifying(checked, stratify)
    valid = np.sort(draw_rows("holdout", rng, np.arange(rows), held, labels))
    rest = np.setdiff1d(np.arange(rows), valid)
    test_rows = None
    if test is not None:
        test_rows = np.sort(draw_rows("holdout", rng, rest, tested, labels))
        rest = np.setdiff1d(rest, test_rows)
    data = with_columns(_data_of(checked, rest, valid), column_names(arrays))
    return data.with_test(test_rows)


def _stratifying(arrays: Mapping[str, np.ndarray], name: Any) -> np.ndarray | None:
    """Returns the entry whose proportions all parts keep."""
    if name is not None and not isinstance(name, str):
        raise TypeError(
            f"holdout: stratify={type(name).__name__} is not the name of an entry; write "
            'stratify="y"'
        )
    if name is not None and name not in arrays:
        raise ValueError(f"holdout: stratify={name!r} is not one of {list(arrays)}")
    return None if name is None else arrays[name]


def from_splits(
    train: Mapping[str, Any], valid: Mapping[str, Any], test: Mapping[str, Any] | None = None
) -> Data:
    """Joins a training set and a validation set that you already have.

    Args:
      train, valid: name -> array `[rows, ...]`, with the same names, dtypes and row shapes.
      test: another one, whose rows neither train nor validate, for `Sweep.evaluate`.

    Raises:
      TypeError, ValueError: as `holdout`, and if the sets do not match.
    """
    parts = {"train": train, "valid": valid} | ({} if test is None else {"test": test})
    sets = {part: check_arrays(f"from_splits: {part}", given) for part, given in parts.items()}
    first = sets["train"]
    for part, arrays in sets.items():
        if arrays.keys() != first.keys():
            raise ValueError(
                f"from_splits: train has {sorted(first)}, {part} has {sorted(arrays)}; give the "
                "same"
            )
        for name, a in first.items():
            b = arrays[name]
            if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
                raise ValueError(
                    f"from_splits: {name!r} is {a.dtype}{list(a.shape[1:])} a row in train and "
                    f"{b.dtype}{list(b.shape[1:])} in {part}; make them alike"
                )
    columns = column_names(train)
    for part, entries in parts.items():
        for name, names in column_names(entries).items():
            check_columns(f"from_splits: {part}", name, columns.get(name, names), names)
    joined = CheckedArrays({k: np.concatenate([s[k] for s in sets.values()]) for k in first})
    for name in set().union(*(s.uncast for s in sets.values())):
        given = [s.uncast.get(name, s[name]) for s in sets.values()]
        joined.uncast[name] = np.concatenate(given)
    ends = np.cumsum([len(next(iter(s.values()))) for s in sets.values()])
    of = dict(zip(sets, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    data = with_columns(_data_of(joined, of["train"], of["valid"]), columns)
    return data.with_test(of.get("test"))


def _data_of(arrays: CheckedArrays, train: np.ndarray, valid: np.ndarray) -> Data:
    return Data(
        on_device(arrays),
        jax.device_put(train.astype(np.int32)),
        jax.device_put(valid.astype(np.int32)),
        remainders=arrays.remainders(train),
    )


def apply_scaling(scaling: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Scales new rows by `Data.scaling`; entries that are not in it stay unchanged."""
    return {
        name: _apply(np.asarray(array), scaling[name]) if name in scaling else array
        for name, array in arrays.items()
    }


def _apply(array: np.ndarray, scaling: Scaling) -> np.ndarray:
    shift, factor = scaling
    return ((array.astype(np.float64) - shift) / factor).astype(float_dtype())
