"""Makes the splits of a search the folds of a program: transforms and checks their rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from vtune.sklearn.estimators.base import Estimator, checked_weight

Split = tuple[np.ndarray, np.ndarray]  # (training rows, test rows)


class Dataset:
    """The data that a search is fitted to.

    Args:
      X: as passed to `fit`. y: as passed to `fit`. weights: [rows] or None.
      score_train: whether the training rows of every split are scored, too.
    """

    def __init__(self, X: Any, y: Any, weights: Any, score_train: bool):
        self.X = X
        self.y = y
        self.weights = checked_weight(weights, len(self))
        self.score_train = score_train

    def __len__(self) -> int:
        shape = getattr(self.X, "shape", None)
        return shape[0] if shape else len(self.X)

    def take(self, rows: np.ndarray) -> Any:
        """Returns rows of X as a frame, an array or a list, whichever X is."""
        if hasattr(self.X, "iloc"):
            return self.X.iloc[rows]
        return self.X[rows] if hasattr(self.X, "shape") else [self.X[i] for i in rows]


class SharedRows(NamedTuple):
    """All rows of a search, checked once for all splits, if no transformers come first.

    Attributes:
      estimator: a copy of the final estimator that has seen all rows.
      x: features. y: encoded targets. weight: [rows].
    """

    estimator: Estimator
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


@dataclass
class TransformedSplit:
    """A split after the transformers, the steps of a pipeline before the final estimator.

    Attributes:
      number: of the split. training: its training rows. scored: the rows that it is scored on.
      transformers: fitted to the training rows; None if there are none.
      training_x, scored_x: the transformed rows; None without transformers.
      error: why a transformer could not be fitted, or None.
    """

    number: int
    training: np.ndarray
    scored: np.ndarray
    transformers: Pipeline | None = None
    training_x: Any = None
    scored_x: Any = None
    error: Exception | None = None


@dataclass
class CheckedSplit:
    """The rows of a split as the program takes them.

    Attributes:
      learned: attributes that the final estimator takes from the training rows, as its classes.
      outputs: classes, or targets per row.
      training: (x, targets, weights) of the training rows; x is None if all rows are shared.
      scored: (x, targets, weights) of the scored rows; None if all rows are shared.
      kind: what must be equal for splits to be folds of one sweep.
    """

    split: TransformedSplit
    learned: dict[str, Any]
    outputs: int
    training: Any
    scored: Any
    kind: Any


def transform_splits(
    transformers: Pipeline | None, splits: Sequence[Split], dataset: Dataset
) -> list[TransformedSplit]:
    """Fits the transformers to the training rows of every split and transforms its rows."""
    transformed = []
    for number, (training, test) in enumerate(splits):
        scored = np.append(test, training) if dataset.score_train else test
        split = TransformedSplit(number, training, scored)
        try:
            if transformers is not None:
                split.transformers = clone(transformers)
                labels = None if dataset.y is None else np.asarray(dataset.y)[training]
                # `fit_transform`, as a pipeline does: some steps then return other rows.
                fitted = split.transformers.fit_transform(dataset.take(training), labels)
                split.training_x = _dense(fitted)
                split.scored_x = _dense(_transform(split.transformers, dataset.take(scored)))
        except Exception as error:
            split.error = error
        transformed.append(split)
    return transformed


def _transform(transformers: Pipeline, X: Any) -> Any:
    """Transforms rows step by step.

    `Pipeline.transform` asks its last step whether it is fitted, and some steps cannot tell.
    """
    for _, step in transformers.steps:
        X = X if step is None or step == "passthrough" else step.transform(X)
    return X


def _dense(rows: Any) -> Any:
    if sparse.issparse(rows):
        raise TypeError(
            "the pipeline's steps before the last must return dense rows, got sparse ones; set "
            "sparse_output=False, or add a step that makes them dense"
        )
    return rows


def check_split(
    final: Estimator, split: TransformedSplit, dataset: Dataset, shared: SharedRows | None
) -> CheckedSplit:
    """Checks the rows of a split for the final estimator, which learns its classes from them.

    Raises:
      Exception: whatever the transformers or the checks raised.
    """
    if split.error is not None:
        raise split.error
    known, labels = set(vars(final)), np.asarray(dataset.y)[split.training]
    weight = dataset.weights[split.training]
    x: Any = None
    if shared is None:
        estimator = copy.copy(final)
        x, y, weight = estimator._check_training_rows(split.training_x, labels, weight)
        scored_x = estimator._check_new_rows(split.scored_x)
    else:
        estimator = copy.copy(shared.estimator)
        y = estimator._encode_targets(labels)
    class_weights = estimator._class_weights(y, weight)
    counts, weight = estimator._counting_rows(y, weight, class_weights)
    y, weight, x = y[counts], weight[counts], None if x is None else x[counts]
    learned = {name: value for name, value in vars(estimator).items() if name not in known}
    outputs = estimator._n_outputs
    kind = (outputs, tuple(getattr(estimator, "classes_", ())), None if x is None else x.shape[1:])
    if shared is not None and class_weights is None:
        return CheckedSplit(split, learned, outputs, (None, y, weight), None, kind)
    if shared is not None:  # a row's weight depends on the split, so rows are copied
        x, scored_x = shared.x[split.training[counts]], shared.x[split.scored]
    count = len(scored_x)  # scored rows need no targets, and their weights are 0
    scored = (scored_x, np.zeros((count, *y.shape[1:]), y.dtype), np.zeros(count))
    return CheckedSplit(split, learned, outputs, (x, y, weight), scored, (*kind, x.shape[1:]))


def program_arrays(splits: list[CheckedSplit], shared: SharedRows | None) -> Any:
    """Returns (arrays for the program, folds as (training, scored) row indices)."""
    if splits[0].scored is None:
        assert shared is not None
        return _shared_arrays(splits, shared)
    parts: list[Any] = []
    folds, start = [], 0
    for checked in splits:
        n, m = len(checked.training[0]), len(checked.scored[0])
        folds.append((start + np.arange(n), start + n + np.arange(m)))
        parts += [checked.training, checked.scored]
        start += n + m
    names = ("x", "y", "weight")
    return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(names)}, folds


def _shared_arrays(splits: list[CheckedSplit], shared: SharedRows) -> Any:
    like = splits[0].training[1]
    y = np.zeros((len(shared.x), *like.shape[1:]), like.dtype)
    folds = []
    for checked in splits:
        training = checked.split.training
        training = training[shared.weight[training] > 0]
        y[training] = checked.training[1]  # the same in every fold, since their classes are
        folds.append((training, checked.split.scored))
    return {"x": shared.x, "y": y, "weight": shared.weight}, folds
