"""Scaling of the data by statistics of the training rows; validation rows are never looked at.

    data = vt.standardize(vt.holdout({"x": X, "y": y}), "x")

Each fold of data in folds is scaled by its own training rows. `sweep.predict` scales new rows in
the same way; `data.scale({"x": X_new})` does it by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.dataset import Data, Scaling
from vtune.data.host_entry import whole
from vtune.data.statistics import Statistics
from vtune.types import Array, float_dtype
from vtune.validation import is_number

_MOST_CLASSES = 1_000_000  # a number of each is counted


def standardize(data: Data, *names: str) -> Data:
    """Scales entries so that each feature has mean 0 and variance 1 over the training rows.

    A feature that is constant over the training rows is only shifted, as in scikit-learn. Numbers
    are scaled as they were given and cast then: Unix seconds in float64 stay as many as they are.

    Args:
      names: of the entries to scale.

    Raises:
      TypeError, ValueError: `data` is not a `vt.Data`, no name is given, or a name is unknown or
        scaled already.
    """

    def fit(found: Statistics) -> tuple[np.ndarray, np.ndarray]:
        constant = (found.most == found.least) | (found.spread == 0)
        return found.mean, np.where(constant, 1.0, found.spread)

    return _scaled("standardize", data, names, fit)


def min_max_scale(data: Data, *names: str, low: float = 0.0, high: float = 1.0) -> Data:
    """Scales entries so that each feature goes from `low` to `high` over the training rows.

    Validation rows may lie outside.

    Args:
      names: of the entries to scale.

    Raises:
      TypeError, ValueError: as `standardize`, and if `low` is not below `high`.
    """
    if not (is_number(low) and is_number(high) and -math.inf < low < high < math.inf):
        raise ValueError(
            f"min_max_scale: low={low!r} and high={high!r} must be numbers, low below high"
        )

    def fit(found: Statistics) -> tuple[np.ndarray, np.ndarray]:
        reach = found.most - found.least
        factor = np.where(reach == 0, 1.0, reach) / (high - low)
        return found.least - low * factor, factor

    return _scaled("min_max_scale", data, names, fit)


def class_weights(data: Data, name: str = "y") -> Array:
    """Returns weights [classes] that balance the classes, as scikit-learn's "balanced".

    A weight is rows / (classes * rows of the class), over the training rows, and 0 for a class
    without any. Use it in a loss:

        loss=lambda out, batch, h: (xent(out, batch["y"]), weights[batch["y"]])

    Args:
      name: of the entry with the labels.

    Raises:
      TypeError, ValueError: the entry is missing or does not hold whole numbers from 0 on, or the
        data are in folds.
    """
    _check("class_weights", data, (name,))
    if data.folded:
        raise TypeError(
            "class_weights: the data are in folds, each with weights of its own, which a loss "
            "cannot tell apart; write the weights of all rows: "
            f"weights = jnp.asarray(len(y) / (classes * np.bincount(y))), and stratify={name!r} in "
            "vt.kfold, so that they are those of every fold"
        )
    held = whole(data.arrays[name])
    labels = held[np.asarray(data.train)]
    if labels.dtype.kind not in "iub" or labels.min() < 0:
        raise TypeError(f"class_weights: {name!r} must hold classes, whole numbers from 0 on")
    classes = int(np.max(held)) + 1
    if classes > max(_MOST_CLASSES, len(held)):
        raise ValueError(
            f"class_weights: {name!r} goes up to {classes - 1}; count the classes from 0 on: "
            "names, y = numpy.unique(labels, return_inverse=True)"
        )
    counts = np.bincount(labels.ravel().astype(np.int64), minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.where(counts > 0, labels.size / (present * np.maximum(counts, 1)), 0.0)
    return jax.device_put(weights.astype(float_dtype()))


def check_scaling(who: str, scaling: Mapping[str, Any], data: Data) -> None:
    """Raises ValueError if data are not scaled as those that a sweep was trained on."""
    for name, trained in scaling.items():
        given = data.scaling.get(name)
        if given is None or not _is_alike(trained, given):
            raise ValueError(
                f"{who}: the sweep was trained on data whose {name!r} was scaled; give the same "
                f"data, such as vt.standardize(vt.holdout(...), {name!r})"
            )


def _is_alike(one: Scaling, other: Scaling) -> bool:
    """Whether two scalings give the same scaled values, up to 1e-5."""
    (shift, factor), (its_shift, its_factor) = (map(np.asarray, part) for part in (one, other))
    if shift.shape != its_shift.shape or not np.allclose(factor, its_factor, atol=0):
        return False
    return bool(np.all(np.abs(shift - its_shift) <= 1e-5 * factor))


def _scaled(
    who: str, data: Data, names: tuple[str, ...], fit: Callable[[Statistics], Scaling]
) -> Data:
    _check(who, data, names)
    arrays, scaling, centers = dict(data.arrays), dict(data.scaling), {}
    for name in names:
        if name in scaling:
            raise ValueError(f"{who}: {name!r} is scaled already")
        if arrays[name].dtype.kind == "c":
            raise TypeError(f"{who}: {name!r} holds complex numbers, which have no mean and spread")
        arrays[name], scaling[name], center = data._fit_scaling(name, fit)
        if center is not None:
            centers[name] = center
    return data.replace(arrays, scaling, centers)


def _check(who: str, data: Any, names: tuple[str, ...]) -> None:
    if not isinstance(data, Data):
        raise TypeError(
            f"{who}: data must be a vt.Data, got {type(data).__name__}; split the rows first, so "
            'that only training rows are looked at: vt.holdout({"x": X, "y": y})'
        )
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(data)):
        raise TypeError(f"{who}: the data are traced, inside jax.jit; call this outside")
    if data.batch_size is not None:
        raise TypeError(
            f"{who}: the training rows of a stream are not known beforehand; do it where its "
            "batches are made, and to the validation rows alike"
        )
    if not names:
        raise ValueError(f'{who}: name the entries, such as vt.{who}(data, "x")')
    for name in names:
        if not isinstance(name, str) or name not in data.arrays:
            raise ValueError(f"{who}: {name!r} is not one of {sorted(data.arrays)}")
