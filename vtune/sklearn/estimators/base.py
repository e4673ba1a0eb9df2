"""What the estimators share: what they take, how they are trained, what they answer."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from vtune.sklearn.training.spec import Setting
from vtune.sklearn.training.train import fit
from vtune.types import PyTree


class Estimator(BaseEstimator):
    """Fits by vtune. What there is to know about one kind of model is in `_setting` and `_take`."""

    def _setting(self, outputs: int) -> Setting:
        """Its parameters for the program; raises ValueError or TypeError on wrong ones.

        Args:
          outputs: classes, or targets.
        """
        raise NotImplementedError

    def _take(self, setting: Setting, state: PyTree) -> None:
        """Keeps what was trained, as NumPy arrays."""
        raise NotImplementedError

    def _raw(self, X: Any) -> np.ndarray:
        """The model's outputs [rows, outputs] for new rows."""
        raise NotImplementedError

    def _features(self) -> dict[str, Any]:
        """How `validate_data` looks at features."""
        return {"dtype": np.float64}

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        """Targets for the program; notes what answers need."""
        raise NotImplementedError

    @property
    def _outputs(self) -> int:
        """How many, once targets were seen."""
        raise NotImplementedError

    def _balanced(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        """[rows] weights of classes, of encoded targets and weights of rows; None without."""
        return None

    def _checked(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, encoded targets and weights [rows] of training rows."""
        X, y = validate_data(
            self, X, y, multi_output=True, y_numeric=self._numeric, **self._features()
        )
        return X, self._encoded(y), checked_weight(sample_weight, len(X))

    def _rows(self, X: Any) -> np.ndarray:
        """New rows, checked, in the types that were trained on."""
        return validate_data(self, X, reset=False, **self._features())

    _numeric = False  # whether targets are numbers
    _again: Any = None  # (setting, arrays) -> Fitted by a search's program, or None

    def _fit(self, X: Any, y: Any, sample_weight: Any, start: PyTree, progress: bool) -> Any:
        """Trains on all rows."""
        x, target, weight = self._checked(X, y, sample_weight)
        balanced = self._balanced(target, weight)
        weight = weight if balanced is None else weight * balanced
        counts = weight > 0
        if not counts.any():
            raise ValueError("sample_weight: every weight is zero; give some above 0")
        x, target, weight = x[counts], target[counts], weight[counts]
        self._check_targets(target)
        setting = self._setting(self._outputs)
        arrays = {"x": x, "y": target, "weight": weight}
        plain = self._again is None or start is not None or progress  # only `fit` shows a bar
        found = None if plain else self._again(setting, arrays)
        found = fit(setting, arrays, start, progress) if found is None else found
        if found.failed is not None:
            raise ValueError(
                f"{type(self).__name__}: the training {found.failed}; try a smaller learning "
                "rate, or scale the features"
            )
        self._take(setting, found.state)
        return found

    def _check_targets(self, y: np.ndarray) -> None:
        """Raises ValueError where there is nothing to learn from them."""

    def _seed(self, random_state: Any) -> int:
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class Classifier(ClassifierMixin, Estimator):
    """Answers with classes.

    Attributes:
      classes_: [classes] the labels, sorted.
    """

    classes_: np.ndarray
    class_weight: Any

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        return encoded.astype(np.int32)

    @property
    def _outputs(self) -> int:
        return len(self.classes_)

    def _check_targets(self, y: np.ndarray) -> None:
        found = np.unique(y)
        if len(found) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of 2 classes or more; there is one class, "
                f"{self.classes_[found[0]]}"
            )

    def _balanced(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        how = self.class_weight
        if how is None:
            return None
        if isinstance(how, str) and how != "balanced":
            raise ValueError(f'class_weight={how!r} must be "balanced", a dict by class, or None')
        found = np.unique(y)
        weights = np.ones(len(self.classes_))
        labels = self.classes_[y]
        known = inspect.signature(compute_class_weight).parameters  # newer ones count weights
        rows = {"sample_weight": weight} if "sample_weight" in known else {}
        weights[found] = compute_class_weight(how, classes=self.classes_[found], y=labels, **rows)
        return weights[y]

    def _scores(self, X: Any) -> np.ndarray:
        """[rows, classes] logits."""
        raw = self._raw(X)
        return np.hstack([np.zeros_like(raw), raw]) if raw.shape[1] == 1 else raw

    def predict(self, X: Any) -> np.ndarray:
        """[rows] the likeliest class of each row."""
        scores = self._scores(X)  # says so where the estimator is not fitted
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """[rows, classes] probabilities, in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """[rows, classes] their logarithms."""
        scores = self._scores(X).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def decision_function(self, X: Any) -> np.ndarray:
        """[rows, classes] scores; of two classes [rows], above 0 for the second."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores


class Regressor(RegressorMixin, Estimator):
    """Answers with numbers."""

    _numeric = True

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        self._single = y.ndim == 1
        target = np.asarray(y, np.float64).reshape(len(y), -1)
        self._targets = target.shape[1]
        return target

    @property
    def _outputs(self) -> int:
        return self._targets

    def predict(self, X: Any) -> np.ndarray:
        """[rows], or [rows, targets] where it was fitted to several."""
        raw = self._raw(X).astype(np.float64)
        return raw[:, 0] if self._single else raw

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


def checked_weight(sample_weight: Any, rows: int) -> np.ndarray:
    """[rows] float64, ones where none are given."""
    if sample_weight is None:
        return np.ones(rows)
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape != (rows,):
        if weight.ndim == 0:
            return np.full(rows, weight)
        raise ValueError(f"sample_weight has shape {list(weight.shape)}; give one a row, [{rows}]")
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise ValueError("sample_weight holds NaN, infinite or negative numbers")
    return weight


def fitted(estimator: Estimator, X: Any) -> np.ndarray:
    """New rows of a fitted estimator, checked."""
    check_is_fitted(estimator)
    return estimator._rows(X)
