"""Scaling entries of the data by what the training rows show; validation rows are never looked at.

    data = vt.standardize(vt.holdout({"x": X, "y": y}), "x")

Of data in folds each fold is scaled by its own training rows.

`sweep.predict` scales new rows in the same way; `data.scale({"x": X_new})` does it by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.dataset import Data, _apply
from vtune.data.folds import Folds
from vtune.types import Array, float_dtype


def standardize(data: Data, *names: str) -> Data:
    """Each feature of these entries with mean 0 and variance 1 over the training rows.

    A feature that is the same in all of them is only moved to 0, as in scikit-learn.

    Raises:
      TypeError, ValueError: not a Data, no name, or one that the data have not.
    """

    def fit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spread = rows.std(axis=0)
        constant = np.ptp(rows, axis=0) == 0
        return rows.mean(axis=0), np.where(constant | (spread == 0), 1.0, spread)

    return _scaled("standardize", data, names, fit)


def min_max_scale(data: Data, *names: str, low: float = 0.0, high: float = 1.0) -> Data:
    """Each feature of these entries from `low` to `high` over the training rows; validation rows
    may lie outside.

    Raises:
      TypeError, ValueError: as `standardize`, and `low` not below `high`.
    """
    if not low < high:
        raise ValueError(f"min_max_scale: low={low!r} must be below high={high!r}")

    def fit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        least, reach = rows.min(axis=0), np.ptp(rows, axis=0)
        factor = np.where(reach == 0, 1.0, reach) / (high - low)
        return least - low * factor, factor

    return _scaled("min_max_scale", data, names, fit)


def class_weights(data: Data, name: str = "y") -> Array:
    """[classes] rows / (classes * rows of the class), over the training rows: what weighs all
    classes alike, as scikit-learn's "balanced". 0 for a class without training rows.

    In a loss: `lambda out, batch, h: (xent(out, batch["y"]), weights[batch["y"]])`.

    Raises:
      TypeError, ValueError: no such entry, or not one of whole numbers from 0 on.
    """
    _check("class_weights", data, (name,))
    if isinstance(data, Folds):
        raise TypeError("class_weights: the data are in folds, each with weights of its own")
    labels = np.asarray(data.arrays[name])[np.asarray(data.train)]
    if labels.dtype.kind not in "iub" or labels.min() < 0:
        raise TypeError(f"class_weights: {name!r} must hold classes, whole numbers from 0 on")
    classes = int(np.max(np.asarray(data.arrays[name]))) + 1
    counts = np.bincount(labels.ravel().astype(np.int64), minlength=classes)
    there = np.count_nonzero(counts)
    weights = np.where(counts > 0, labels.size / (there * np.maximum(counts, 1)), 0.0)
    return jax.device_put(weights.astype(float_dtype()))


def check_scaling(who: str, scaling: Mapping[str, Any], data: Data) -> None:
    """Raises ValueError where data are not scaled as those that a sweep was trained on."""
    for name, own in scaling.items():
        other = data.scaling.get(name)
        if other is None or not all(np.allclose(a, b) for a, b in zip(own, other, strict=True)):
            raise ValueError(
                f"{who}: the sweep was trained on data whose {name!r} was scaled; give the same "
                f"data, such as vt.standardize(vt.holdout(...), {name!r})"
            )


def _scaled(who: str, data: Data, names: tuple[str, ...], fit: Any) -> Data:
    _check(who, data, names)
    arrays, scaling = dict(data.arrays), dict(data.scaling)
    for name in names:
        if name in scaling:
            raise ValueError(f"{who}: {name!r} is scaled already")
        values = np.asarray(data.arrays[name], np.float64)
        if isinstance(data, Folds):  # scaled where rows are gathered, each fold by its own
            each = [fit(values[data.fold(number)[0]]) for number in range(data.folds)]
            scaling[name] = tuple(
                np.stack(part).astype(float_dtype()) for part in zip(*each, strict=True)
            )
            arrays[name] = jax.device_put(values.astype(float_dtype()))
            continue
        scaling[name] = fit(values[np.asarray(data.train)])
        arrays[name] = jax.device_put(_apply(values, scaling[name]))
    return data.replace(arrays, scaling)


def _check(who: str, data: Any, names: tuple[str, ...]) -> None:
    if not isinstance(data, Data):
        raise TypeError(
            f"{who}: {type(data).__name__} is no Data; split first, so that only training rows are "
            'looked at: vt.holdout({"x": X, "y": y})'
        )
    if not names:
        raise ValueError(f'{who}: name the entries, such as vt.{who}(data, "x")')
    for name in names:
        if name not in data.arrays:
            raise ValueError(f"{who}: {name!r} is not one of {sorted(data.arrays)}")
