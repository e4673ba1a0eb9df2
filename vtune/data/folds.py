"""Data in folds for cross-validation: each fold has its own training and validation rows.

The arrays are held once. Folds are row indices, so a fold never sees the rows it holds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.column_names import column_names, with_columns
from vtune.data.dataset import Data, Scaling, apply_scaling
from vtune.data.validate import check_arrays
from vtune.rng.keys import row_key
from vtune.rng.threefry import bits
from vtune.types import Array, IntArray, float_dtype
from vtune.validation import check_count, is_whole


@jax.tree_util.register_pytree_node_class
class Folds(Data):
    """Arrays by name, each `[rows, ...]`, with training and validation rows of every fold.

    Make one with `vt.kfold`. Folds may differ in size: in an epoch, every fold takes as many steps
    as the smallest fold has full batches.

    Attributes:
      arrays: dict of device arrays, all with the same leading axis.
      train: [folds, most training rows] int32, each fold's indices, padded with its first one.
      valid: [folds, most validation rows] int32, padded in the same way.
      train_sizes, valid_sizes: number of rows of every fold without the padding, on the host.
      scaling: by name (shift, factor), each [folds, ...], of entries that were scaled, see
        `vt.standardize`: each fold by its own training rows.
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
    ):
        super().__init__(arrays, train, valid, scaling)
        self.train_sizes = train_sizes
        self.valid_sizes = valid_sizes

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        return (self.arrays, self.train, self.valid, self.scaling), (
            self.train_sizes,
            self.valid_sizes,
        )

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> Folds:
        arrays, train, valid, scaling = children
        return cls(arrays, train, valid, aux[0], aux[1], scaling)

    def replace(self, arrays: dict[str, Any], scaling: Mapping) -> Folds:
        """Returns the same folds of other arrays."""
        sizes = self.train_sizes, self.valid_sizes
        return with_columns(Folds(arrays, self.train, self.valid, *sizes, scaling), self.columns)

    def scale(self, arrays: Mapping[str, Any], fold: int = 0) -> dict[str, Any]:
        """Scales new rows as those of one fold are scaled."""
        of_fold = {
            name: (shift[fold], factor[fold]) for name, (shift, factor) in self.scaling.items()
        }
        return apply_scaling(of_fold, arrays)

    def _fit_scaling(
        self, name: str, fit: Callable[[np.ndarray], Scaling]
    ) -> tuple[np.ndarray, Scaling]:
        """Fits a scaling of an entry to the training rows of every fold.

        Returns:
          The entry unscaled, since `take` scales the gathered rows, and (shift, factor), each
          [folds, ...].
        """
        values = np.asarray(self.arrays[name], np.float64)
        by_fold = [fit(values[self.fold(number)[0]]) for number in range(self.folds)]
        shift, factor = (
            np.stack(part).astype(float_dtype()) for part in zip(*by_fold, strict=True)
        )
        return values.astype(float_dtype()), (shift, factor)

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

    def rows(self, seed: Any, epoch: Any, batch_size: int) -> IntArray[Array, "folds steps batch"]:
        """Returns the training rows of one epoch of every fold, batch by batch.

        Each fold is shuffled differently, and all members share the shuffle. Rows that do not fill
        a batch, or are more than the smallest fold has, are left out of the epoch. Arguments are
        those of `Data.rows`.
        """
        steps = self.train_rows // batch_size
        most = self.train.shape[1]

        def of_fold(fold: Array, train: Array, size: Array) -> Array:
            drawn = bits(row_key(seed, fold, epoch), (most,)) >> 1
            padding_last = jnp.where(jnp.arange(most) < size, drawn, jnp.uint32(2**32 - 1))
            order = train[jnp.argsort(padding_last)]
            return order[: steps * batch_size].reshape(steps, batch_size)

        sizes = jnp.asarray(self.train_sizes, jnp.int32)
        return jax.vmap(of_fold)(jnp.arange(self.folds), self.train, sizes)

    def first_rows(self, batch_size: int) -> Array:
        """Returns the first training rows [folds, batch] in stored order."""
        return self.train[:, :batch_size]

    def evaluation(self, size: int) -> tuple[Array, Array]:
        """Returns validation rows and their weights, both [batches, folds, size].

        Weights are 0 on padding.
        """
        batches = -(-self.valid_rows // size)
        position = np.arange(batches * size)
        index = jnp.take(self.valid, np.minimum(position, self.valid.shape[1] - 1), axis=1)
        is_row = jnp.asarray(position)[None] < jnp.asarray(self.valid_sizes)[:, None]
        shape = (self.folds, batches, size)
        weight = jnp.asarray(is_row.reshape(shape), float_dtype())
        return jnp.moveaxis(index.reshape(shape), 1, 0), jnp.moveaxis(weight, 1, 0)

    def take(self, rows: Array) -> dict[str, Array]:
        """Gathers rows [folds, ...] of every array; each fold's rows are scaled by its scaling."""
        taken = super().take(rows)
        for name, scaling in self.scaling.items():
            shift, factor = (
                jnp.asarray(a, float_dtype()).reshape(
                    (self.folds, *[1] * (rows.ndim - 1), *a.shape[1:])
                )
                for a in scaling
            )
            taken[name] = (taken[name].astype(shift.dtype) - shift) / factor
        return taken

    def fold(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (training rows, validation rows) of one fold, on the host."""
        train, valid = np.asarray(self.train[number]), np.asarray(self.valid[number])
        return train[: self.train_sizes[number]], valid[: self.valid_sizes[number]]

    def __repr__(self) -> str:
        arrays = ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self.arrays.items())
        span = lambda sizes: " to ".join(str(n) for n in sorted({min(sizes), max(sizes)}))
        return (
            f"Folds({arrays}; {self.folds} folds, train {span(self.train_sizes)} rows, valid "
            f"{span(self.valid_sizes)})"
        )


def kfold(
    arrays: Mapping[str, Any],
    k: Any = 5,
    *,
    stratify: str | None = None,
    groups: Any = None,
    seed: int = 0,
) -> Folds:
    """Splits rows into folds for cross-validation: each row is held out by one fold.

        data = vt.kfold({"x": X, "y": y}, k=5, stratify="y")

    A member of a sweep is then trained once in every fold. Members are compared by the mean of
    their folds' scores, and refiners move all folds of a member together.

    Args:
      arrays: name -> array `[rows, ...]`, all of the same length.
      k: number of folds, which scikit-learn's KFold, StratifiedKFold, GroupKFold or
        StratifiedGroupKFold make with a shuffle; or one of scikit-learn's splitters; or a list of
        pairs (training rows, validation rows).
      stratify: name of an entry of labels `[rows]` whose proportions all folds keep.
      groups: [rows], or the name of an entry; all rows of a group are held out by the same fold.
      seed: of the shuffle.

    Raises:
      TypeError, ValueError: as `vt.holdout`; there are fewer than 2 folds; or a fold has no rows,
        has rows that do not exist, or trains on rows it validates on.
      ImportError: scikit-learn is not installed (the extra `sklearn`).

    Example:
      >>> import numpy as np
      >>> kfold({"x": np.zeros((10, 3), np.float32), "y": np.zeros(10, np.int32)}, k=3)
      Folds(x: float32[10, 3], y: int32[10]; 3 folds, train 6 to 7 rows, valid 3 to 4)
    """
    checked = check_arrays("kfold", arrays)
    rows = len(next(iter(checked.values())))
    labels = _entry(checked, "stratify", stratify)
    groups = _entry(checked, "groups", groups) if isinstance(groups, str) else groups
    if groups is not None and np.shape(groups) != (rows,):
        raise ValueError(f"kfold: groups= has shape {list(np.shape(groups))}; give one a row")
    if isinstance(k, Iterable) and not hasattr(k, "split"):
        pairs = list(k)
    else:
        splitter = k if hasattr(k, "split") else _splitter(k, rows, labels, groups, seed)
        pairs = list(splitter.split(np.zeros(rows), labels, groups))
    return with_columns(folds_of(checked, pairs), column_names(arrays))


def folds_of(arrays: Mapping[str, np.ndarray], pairs: Iterable[Any]) -> Folds:
    """Returns the folds given by pairs of (training rows, validation rows).

    Args:
      arrays: as `check_arrays` returns them.

    Raises:
      TypeError, ValueError: as `kfold`, for the pairs.
    """
    rows = len(next(iter(arrays.values())))
    checked = [_checked_pair(number, pair, rows) for number, pair in enumerate(pairs)]
    if not checked:
        raise ValueError("kfold: no folds; give pairs such as [(train rows, valid rows), ...]")
    train, valid = zip(*checked, strict=True)
    return folds_from_rows(arrays, train, valid)


def folds_from_rows(
    arrays: Mapping[str, np.ndarray], train: Sequence[np.ndarray], valid: Sequence[np.ndarray]
) -> Folds:
    """Returns the folds of these rows, by fold, without checking them."""
    return Folds(
        {name: jax.device_put(array) for name, array in arrays.items()},
        jax.device_put(_padded(train)),
        jax.device_put(_padded(valid)),
        tuple(map(len, train)),
        tuple(map(len, valid)),
    )


def _padded(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the indices of every fold [folds, most], padded with the fold's first one."""
    most = max(map(len, parts))
    return np.stack([np.append(p, np.full(most - len(p), p[0])) for p in parts]).astype(np.int32)


def _checked_pair(number: int, pair: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        train, valid = (np.asarray(part) for part in pair)
    except (TypeError, ValueError):
        raise TypeError(
            f"kfold: fold {number} is {type(pair).__name__}, not (training rows, validation rows)"
        ) from None
    for name, part in (("training", train), ("validation", valid)):
        if part.ndim != 1 or part.dtype.kind not in "iu":
            raise TypeError(
                f"kfold: fold {number}: {name} rows are {part.dtype}{list(part.shape)}; give "
                "indices [rows], whole numbers"
            )
        if not len(part):
            raise ValueError(f"kfold: fold {number} has no {name} rows")
        if part.min() < 0 or part.max() >= rows:
            raise ValueError(
                f"kfold: fold {number}: {name} rows go from {part.min()} to {part.max()}; there "
                f"are rows 0 to {rows - 1}"
            )
    both = np.intersect1d(train, valid)
    if len(both):
        raise ValueError(
            f"kfold: fold {number} trains on {len(both)} of the rows it validates on, such as "
            f"row {both[0]}"
        )
    return train, valid


def _entry(arrays: Mapping[str, np.ndarray], what: str, name: Any) -> Any:
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(
            f'kfold: {what}={type(name).__name__} is not the name of an entry; write {what}="y"'
        )
    if name not in arrays:
        raise ValueError(f"kfold: {what}={name!r} is not one of {list(arrays)}")
    if arrays[name].ndim != 1:
        raise ValueError(f"kfold: {what}={name!r} has shape {list(arrays[name].shape)}, not [rows]")
    return arrays[name]


def _splitter(k: Any, rows: int, labels: Any, groups: Any, seed: Any) -> Any:
    if not is_whole(k) or not 2 <= k <= rows:
        raise ValueError(
            f"kfold: k={k!r} must be a whole number from 2 to the {rows} rows, a splitter of "
            "scikit-learn's, or a list of (training rows, validation rows)"
        )
    check_count("kfold: seed", seed, 0)
    try:
        from sklearn import model_selection
    except ImportError:
        raise ImportError("kfold needs scikit-learn: pip install 'vtune[sklearn]'") from None
    kinds = {
        (False, False): model_selection.KFold,
        (True, False): model_selection.StratifiedKFold,
        (False, True): model_selection.GroupKFold,
        (True, True): model_selection.StratifiedGroupKFold,
    }
    kind = kinds[labels is not None, groups is not None]
    return kind(n_splits=int(k), shuffle=True, random_state=int(seed))
