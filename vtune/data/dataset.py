"""Arrays held once on the device, with the indices of training and validation rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.column_names import check_columns, column_names, with_columns
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
    batches by index, so nothing is copied for each member.

    Attributes:
      arrays: dict of device arrays, all with the same leading axis.
      train: [train rows] int32, indices into the arrays.
      valid: [validation rows] int32, none of them in `train`.
      scaling: by name (shift, factor) of entries that were scaled, see `vt.standardize`. They are
        on the host and not part of the program.
      columns: by name the columns of entries that were data frames. On the host, too.
      folded: whether batches have an axis of folds.
    """

    folded = False

    def __init__(
        self, arrays: dict[str, Any], train: Any, valid: Any, scaling: Mapping | None = None
    ):
        self.arrays = arrays
        self.train = train
        self.valid = valid
        self.scaling = dict(scaling or {})
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

    def replace(self, arrays: dict[str, Any], scaling: Mapping) -> Data:
        """Returns the same rows of other arrays."""
        return with_columns(Data(arrays, self.train, self.valid, scaling), self.columns)

    @property
    def traced_sizes(self) -> Array | None:
        """The number of training rows of every fold [folds], if these are program arguments.

        Then the number of steps is traced too. None if the program is compiled for fixed sizes.
        """
        return None

    def steps_per_epoch(self, batch_size: int) -> Any:
        """Returns the number of full batches in an epoch; traced where `traced_sizes` are."""
        return self.train_rows // batch_size

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

        Weights are 0 on the padding of the last batch.
        """
        batches = -(-self.valid_rows // size)
        position = np.arange(batches * size)
        index = jnp.take(self.valid, np.minimum(position, self.valid_rows - 1))
        weight = jnp.asarray((position < self.valid_rows).reshape(batches, size), float_dtype())
        return index.reshape(batches, size), weight

    def take(self, rows: Array) -> dict[str, Array]:
        """Gathers rows of every array; the results have the leading axes of `rows`."""
        return {k: jnp.take(v, rows, axis=0, mode="clip") for k, v in self.arrays.items()}

    def scale(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Scales new rows as these were scaled."""
        return apply_scaling(self.scaling, arrays)

    def _fit_scaling(
        self, name: str, fit: Callable[[np.ndarray], Scaling]
    ) -> tuple[np.ndarray, Scaling]:
        """Fits a scaling to the training rows of an entry.

        Args:
          fit: (training rows [rows, ...]) -> (shift, factor).

        Returns:
          The entry scaled, and (shift, factor).
        """
        values = np.asarray(self.arrays[name], np.float64)
        scaling = fit(values[np.asarray(self.train)])
        return _apply(values, scaling), scaling

    @property
    def row_bytes(self) -> int:
        """The bytes of one row in all arrays together."""
        return sum(
            int(np.prod(v.shape[1:], dtype=np.int64)) * v.dtype.itemsize
            for v in self.arrays.values()
        )

    def __repr__(self) -> str:
        arrays = ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self.arrays.items())
        return f"Data({arrays}; train {len(self.train)} rows, valid {len(self.valid)})"


def holdout(
    arrays: Mapping[str, Any], fraction: float = 0.2, seed: int = 0, stratify: str | None = None
) -> Data:
    """Holds a random part of the rows out for validation.

    Args:
      arrays: name -> array `[rows, ...]`, all of the same length.
      fraction: share of the rows to hold out, above 0 and below 1; at least one row is held out
        and one kept.
      seed: of the draw.
      stratify: name of an entry of labels `[rows]` whose proportions both parts keep.

    Raises:
      TypeError, ValueError: the arrays are empty, of different lengths, not numeric or not finite,
        or another argument is not allowed.

    Example:
      >>> import numpy as np
      >>> holdout({"x": np.zeros((10, 3), np.float32), "y": np.zeros(10, np.int32)})
      Data(x: float32[10, 3], y: int32[10]; train 8 rows, valid 2)
    """
    checked = check_arrays("holdout", arrays)
    if not isinstance(fraction, int | float | np.floating) or not 0 < fraction < 1:
        raise ValueError(f"holdout: fraction={fraction!r} must lie between 0 and 1, such as 0.2")
    check_count("holdout: seed", seed, 0)
    rows = len(next(iter(checked.values())))
    if rows < 2:
        raise ValueError(f"holdout: {rows} row cannot be split; give at least 2")
    held = min(max(round(rows * fraction), 1), rows - 1)
    rng = np.random.default_rng(seed)
    if stratify is not None and not isinstance(stratify, str):
        raise TypeError(
            f"holdout: stratify={type(stratify).__name__} is not the name of an entry; write "
            'stratify="y"'
        )
    if stratify is None:
        valid = rng.permutation(rows)[:held]
    elif stratify not in checked:
        raise ValueError(f"holdout: stratify={stratify!r} is not one of {list(checked)}")
    else:
        valid = _stratified(rng, checked[stratify], held)
    train = np.setdiff1d(np.arange(rows), valid)
    return with_columns(_on_device(checked, train, np.sort(valid)), column_names(arrays))


def from_splits(train: Mapping[str, Any], valid: Mapping[str, Any]) -> Data:
    """Joins a training set and a validation set that you already have.

    Args:
      train, valid: name -> array `[rows, ...]`, with the same names, dtypes and row shapes.

    Raises:
      TypeError, ValueError: as `holdout`, and if the two sets do not match.
    """
    a, b = check_arrays("from_splits: train", train), check_arrays("from_splits: valid", valid)
    if a.keys() != b.keys():
        raise ValueError(
            f"from_splits: train has {sorted(a)}, valid has {sorted(b)}; give the same"
        )
    for name in a:
        if a[name].shape[1:] != b[name].shape[1:] or a[name].dtype != b[name].dtype:
            raise ValueError(
                f"from_splits: {name!r} is {a[name].dtype}{list(a[name].shape[1:])} a row in train "
                f"and {b[name].dtype}{list(b[name].shape[1:])} in valid; make them alike"
            )
    rows = len(next(iter(a.values())))
    both = {name: np.concatenate([a[name], b[name]]) for name in a}
    total = len(next(iter(both.values())))
    columns = column_names(train)
    for name, given in column_names(valid).items():
        check_columns("from_splits: valid", name, columns.get(name, given), given)
    return with_columns(_on_device(both, np.arange(rows), np.arange(rows, total)), columns)


def _stratified(rng: np.random.Generator, labels: np.ndarray, held: int) -> np.ndarray:
    """Draws rows to hold out so that every label keeps its share, by largest remainder."""
    if labels.ndim != 1:
        raise ValueError(f"holdout: stratify= needs labels [rows], got shape {labels.shape}")
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        rare = classes[counts.argmin()]
        raise ValueError(f"holdout: label {rare!r} occurs once; stratify= needs two of each")
    share = counts * held / counts.sum()
    take = np.floor(share).astype(int)
    take[np.argsort(take - share, kind="stable")[: held - take.sum()]] += 1
    picked = [
        rng.permutation(np.flatnonzero(labels == label))[:n]
        for label, n in zip(classes, take, strict=True)
    ]
    return np.concatenate(picked)


def _on_device(arrays: dict[str, np.ndarray], train: np.ndarray, valid: np.ndarray) -> Data:
    index = {"train": train.astype(np.int32), "valid": valid.astype(np.int32)}
    return Data(
        {name: jax.device_put(array) for name, array in arrays.items()},
        jax.device_put(index["train"]),
        jax.device_put(index["valid"]),
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
