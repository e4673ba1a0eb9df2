"""The rows that members are scored on after training: test rows, or arrays that are new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.dataset import Data
from vtune.data.fold_rows import folds_from_rows
from vtune.data.folds import Folds
from vtune.data.looks import rows_of
from vtune.results.given_data import check_like, folds_of
from vtune.results.predict import checked_rows, scaled_rows
from vtune.results.trained import Trained


def rows_to_score(trained: Trained, given: Any) -> tuple[Data, int]:
    """Returns data whose validation rows are those to score, and how many they are.

    Args:
      given: None for the test rows of the sweep's own data, data whose test rows are meant, or
        arrays by name.

    Raises:
      TypeError, ValueError: there are no such rows, or they are not like those trained on.
    """
    if trained.plan.eval_batch_size is None:
        raise ValueError("evaluate: the learner makes its own data, so there are no rows to score")
    if isinstance(given, Mapping):
        return _of_arrays(trained, given)
    data = trained.data if given is None else given
    if data is None:
        raise ValueError(
            "evaluate: a loaded sweep holds no data; give the data it was trained on, or arrays: "
            'sweep.evaluate({"x": X, "y": y})'
        )
    if not isinstance(data, Data):
        raise TypeError(
            f"evaluate: {type(data).__name__} is neither a vt.Data nor a dict of arrays such as "
            '{"x": X, "y": y}'
        )
    if data.test is None:
        raise ValueError(
            "evaluate: the data have no test rows; hold some out with vt.holdout(..., test=0.1), "
            'or give new ones: sweep.evaluate({"x": X_test, "y": y_test})'
        )
    if data is not trained.data:
        check_like("evaluate", trained, data)
    if data.on_host:
        return _read(data, data.test), len(data.test)
    return data.scored_on(data.test), len(data.test)


def _read(data: Data, rows: np.ndarray) -> Data:
    """Returns rows of data on the host as data in memory."""
    arrays = rows_of(data, rows)
    if not isinstance(data, Folds):
        return _all_rows(arrays)
    return _all_rows_in_folds(arrays, data.folds, data.scaling, data.centers)


def _all_rows(arrays: Mapping[str, np.ndarray]) -> Data:
    """Returns data that score all of these rows."""
    every = np.arange(len(next(iter(arrays.values()))), dtype=np.int32)
    held = {name: jax.device_put(array) for name, array in arrays.items()}
    return Data(held, jax.device_put(every), jax.device_put(every))


def _all_rows_in_folds(
    arrays: Mapping[str, np.ndarray],
    folds: int,
    scaling: Mapping[str, Any],
    centers: Mapping[str, Any],
) -> Data:
    """Returns data that score all of these rows in every fold, each by its own scaling."""
    every = [np.arange(len(next(iter(arrays.values()))), dtype=np.int32)] * folds
    data = folds_from_rows(arrays, every, every)
    return data.replace(data.arrays, scaling, centers)


def _of_arrays(trained: Trained, given: Mapping[str, Any]) -> tuple[Data, int]:
    """Returns new rows as data, scaled as those trained on."""
    trained_rows = trained.rows or {}
    missing = sorted(set(trained_rows) - set(given))
    if missing:
        raise ValueError(
            f"evaluate: {missing} {'is' if len(missing) == 1 else 'are'} missing; give all entries "
            f"that the sweep was trained on, {sorted(trained_rows)}"
        )
    wanted = {name: given[name] for name in trained_rows}
    rows = checked_rows(wanted, trained_rows, trained.columns, "evaluate")
    count = len(next(iter(rows.values())))
    folds, scaling = folds_of(trained), trained.scaling
    # Entries are scaled before the cast: by fold where rows are gathered, around a common center.
    centers = {name: np.mean(scaling[name][0], axis=0) for name in scaling if folds is not None}
    rows |= {name: rows[name] - center for name, center in centers.items()}
    types = {name: dtype for name, (_, dtype) in trained_rows.items()}
    arrays = scaled_rows("evaluate", {} if folds is not None else scaling, rows, types)
    if folds is not None:
        return _all_rows_in_folds(arrays, folds, scaling, centers), count
    return _all_rows(arrays), count
