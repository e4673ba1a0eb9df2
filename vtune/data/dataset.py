"""Arrays held once on the device, and the row indices that say who trains and who judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.validate import check_arrays
from vtune.rng.keys import row_key
from vtune.types import Array, IntArray, float_dtype
from vtune.validation import check_count
from vtune.xla.ops.rewrite import rewrite

_permuted = jax.jit(rewrite(jax.random.permutation))


@jax.tree_util.register_pytree_node_class
class Data:
    """Arrays by name, each `[rows, ...]`, with the indices of training and validation rows.

    Make one with `vt.holdout` or `vt.from_splits`. It is handed to the program as an argument;
    batches are gathered by index, so nothing is copied per member.

    Attributes:
      arrays: dict of device arrays, all with the same leading axis.
      train: [train rows] int32, indices into the arrays.
      valid: [validation rows] int32, none of them in `train`.
      scaling: by name (shift, factor) of entries that were scaled, see `vt.standardize`; on the
        host, and no part of the program.
    """

    def __init__(
        self, arrays: dict[str, Any], train: Any, valid: Any, scaling: Mapping | None = None
    ):
        self.arrays = arrays
        self.train = train
        self.valid = valid
        self.scaling = dict(scaling or {})

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return (self.arrays, self.train, self.valid), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> Data:
        return cls(*children)

    def rows(self, seed: Any, epoch: Any, batch_size: int) -> IntArray[Array, "steps batch"]:
        """The training rows of one epoch, batch by batch: the one rule of all training.

        A fresh shuffle of the training rows; the tail that does not fill a batch is left out.

        Args:
          seed: the sweep's seed. epoch: counted from 0. batch_size: rows a step.

        Returns:
          Indices into the arrays. They depend on seed, epoch and batch size alone.
        """
        steps = self.train.shape[0] // batch_size
        order = _permuted(row_key(seed, 0, epoch), self.train)
        return order[: steps * batch_size].reshape(steps, batch_size)

    def replace(self, arrays: dict[str, Any], scaling: Mapping) -> Data:
        """The same rows of other arrays."""
        return Data(arrays, self.train, self.valid, scaling)

    folded = False  # whether what is gathered has an axis of folds

    @property
    def traced_sizes(self) -> Array | None:
        """[folds] training rows of every fold where they are arguments of the program, so that
        the number of steps is traced too; None where the program is compiled for them."""
        return None

    def steps_per_epoch(self, batch_size: int) -> Any:
        """Full batches in an epoch: a number, or a traced one where the sizes are."""
        return self.train_rows // batch_size

    def traced_lengths(self, batch_size: int, epochs: int) -> dict[str, np.int32]:
        """`steps_per_epoch` and `total_steps` where they are traced; nothing where they are not."""
        del batch_size, epochs
        return {}

    @property
    def train_rows(self) -> int:
        """How many rows are trained on."""
        return self.train.shape[0]

    @property
    def valid_rows(self) -> int:
        """How many rows are scored."""
        return self.valid.shape[0]

    def first_rows(self, batch_size: int) -> Array:
        """[batch] the first training rows in stored order."""
        return self.train[:batch_size]

    def evaluation(self, size: int) -> tuple[Array, Array]:
        """[batches, size] validation rows, and their weights, 0 on the last batch's padding."""
        batches = -(-self.valid_rows // size)
        place = np.arange(batches * size)
        index = jnp.take(self.valid, np.minimum(place, self.valid_rows - 1))
        weight = jnp.asarray((place < self.valid_rows).reshape(batches, size), float_dtype())
        return index.reshape(batches, size), weight

    def take(self, rows: Array) -> dict[str, Array]:
        """Gathers rows of every array; the result has the leading axes of `rows`."""
        return {k: jnp.take(v, rows, axis=0, mode="clip") for k, v in self.arrays.items()}

    def scale(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """New rows, scaled as these were."""

        return apply_scaling(self.scaling, arrays)

    @property
    def row_bytes(self) -> int:
        """Bytes that one row takes in all arrays together."""
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
    """Sets a random part of the rows aside for validation.

    Args:
      arrays: name -> array `[rows, ...]`; all of the same length.
      fraction: the part of the rows to hold out, above 0 and below 1; at least one row is
        held out and one kept.
      seed: of the draw.
      stratify: the name of an entry of labels `[rows]` whose proportions both parts keep.

    Raises:
      TypeError, ValueError: on arrays that are empty, of unlike length, not numeric or not
        finite, and on a fraction or a name that cannot be.

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
    return _on_device(checked, train, np.sort(valid))


def from_splits(train: Mapping[str, Any], valid: Mapping[str, Any]) -> Data:
    """Takes training and validation sets as they are given.

    Args:
      train, valid: name -> array `[rows, ...]`; the same names, types and row shapes.

    Raises:
      TypeError, ValueError: as `holdout`, and where the two do not go together.
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
    return _on_device(both, np.arange(rows), np.arange(rows, total))


def _stratified(rng: np.random.Generator, labels: np.ndarray, held: int) -> np.ndarray:
    """Rows held out so that every label keeps its share, by largest remainder."""
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
    """New rows, scaled as the data were; entries that were not are left as they are."""
    return {
        name: _apply(np.asarray(array), scaling[name]) if name in scaling else array
        for name, array in arrays.items()
    }


def _apply(array: np.ndarray, how: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    shift, factor = how
    return ((array.astype(np.float64) - shift) / factor).astype(float_dtype())
