"""Base classes of the estimators: checks of data, fitting, predicting."""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from vtune.sklearn.training.spec import Setting
from vtune.sklearn.training.train import Fitted, fit
from vtune.types import PyTree


class Estimator(BaseEstimator):
    """An estimator that vtune fits. A kind of model defines the methods that raise here."""

    _y_numeric = False  # whether targets are numbers
    _refit: Any = None  # (setting, arrays) -> Fitted or None, by a search's program

    def _setting(self, outputs: int) -> Setting:
        """Returns the parameters for the program; raises ValueError or TypeError on wrong ones.

        Args:
          outputs: classes, or targets per row.
        """
        raise NotImplementedError

    def _warn_of_iterations(self, iterations: int) -> None:
        """Warns if the solver stopped before it converged."""

    def _keep_state(self, setting: Setting, state: PyTree) -> None:
        """Sets the fitted attributes, as NumPy arrays."""
        raise NotImplementedError

    def _raw_outputs(self, X: Any) -> np.ndarray:
        """Returns the model's outputs [rows, outputs] for new rows."""
        raise NotImplementedError

    def _validation_options(self) -> dict[str, Any]:
        """Returns the arguments with which `validate_data` checks features."""
        return {"dtype": np.float64}

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        """Returns targets for the program; sets the attributes that `predict` needs."""
        raise NotImplementedError

    @property
    def _n_outputs(self) -> int:
        """Classes, or targets per row, after targets were encoded."""
        raise NotImplementedError

    def _class_weights(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        """Returns [rows] the weight of every row's class, None if classes have no weights.

        Args:
          y: [rows] encoded targets. weight: [rows] sample weights.
        """
        return None

    def _check_targets(self, y: np.ndarray) -> None:
        """Raises ValueError if nothing can be learned from the encoded targets."""

    def _counting_rows(
        self, y: np.ndarray, weight: np.ndarray, class_weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns [rows] which rows are trained on, those with a weight, and the weights.

        Raises:
          ValueError: no row has a weight, or nothing can be learned from those that have.
        """
        weight = weight if class_weights is None else weight * class_weights
        counts = weight > 0
        if not counts.any():
            raise ValueError("sample_weight: every weight is zero; give some above 0")
        self._check_targets(y[counts])
        return counts, weight

    def _check_training_rows(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns features, encoded targets and weights [rows] of training rows."""
        options = self._validation_options()
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=self._y_numeric, **options)
        return X, self._encode_targets(y), checked_weight(sample_weight, len(X))

    def _check_new_rows(self, X: Any) -> np.ndarray:
        """Returns the features of new rows in the types of the training rows."""
        return validate_data(self, X, reset=False, **self._validation_options())

    def _fit(self, X: Any, y: Any, sample_weight: Any, start: PyTree, progress: bool) -> Fitted:
        """Trains on all rows with a weight above 0 and keeps the state.

        Args:
          start: variables to start from, or None. progress: whether a bar is shown.
        """
        x, target, weight = self._check_training_rows(X, y, sample_weight)
        class_weights = self._class_weights(target, weight)
        counts, weight = self._counting_rows(target, weight, class_weights)
        x, target, weight = x[counts], target[counts], weight[counts]
        setting = self._setting(self._n_outputs)
        arrays = {"x": x, "y": target, "weight": weight}
        fitted = None
        if self._refit is not None and start is None and not progress:  # only `fit` shows a bar
            fitted = self._refit(setting, arrays)
        if fitted is None:
            fitted = fit(setting, arrays, start, progress)
        if fitted.failed is not None:
            raise ValueError(
                f"{type(self).__name__}: the training {fitted.failed}; try a smaller learning "
                "rate, or scale the features"
            )
        self._keep_state(setting, fitted.state)
        return fitted


class Classifier(ClassifierMixin, Estimator):
    """An estimator that predicts classes.

    Attributes:
      classes_: [classes] the labels, sorted.
    """

    classes_: np.ndarray
    class_weight: Any

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        check_classification_targets(y)
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise ValueError(
                f"{type(self).__name__} takes one label a row, got y of shape {list(np.shape(y))}; "
                "give sklearn.multioutput.MultiOutputClassifier(FlaxClassifier(...)), or train one "
                "network for all by vt.tune with a loss such as optax.sigmoid_binary_cross_entropy"
            )
        y = column_or_1d(y, warn=True)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        return encoded.astype(np.int32)

    @property
    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _check_targets(self, y: np.ndarray) -> None:
        present = np.unique(y)
        if len(present) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of 2 classes or more; there is one class, "
                f"{self.classes_[present[0]]}"
            )

    def _class_weights(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        given = self.class_weight
        if isinstance(given, dict):
            for label, number in given.items():
                checked_number(f"class_weight[{label!r}]", number)
        elif not isinstance(given, str) or given != "balanced":
            raise ValueError(f'class_weight={given!r} must be "balanced", a dict by class, or None')
        # Newer versions of scikit-learn count a row by its sample weight.
        counts_weights = "sample_weight" in inspect.signature(compute_class_weight).parameters
        options = {"sample_weight": weight} if counts_weights else {}
        present, of_class = np.unique(y), np.ones(len(self.classes_))
        of_class[present] = compute_class_weight(
            self.class_weight, classes=self.classes_[present], y=self.classes_[y], **options
        )
        return of_class[y]

    def _scores(self, X: Any) -> np.ndarray:
        """Returns [rows, classes] logits."""
        logits = self._raw_outputs(X)
        return np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits

    def predict(self, X: Any) -> np.ndarray:
        """Returns [rows] the likeliest class of every row."""
        scores = self._scores(X)  # first, since it raises if the estimator is not fitted
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns [rows, classes] probabilities, in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Returns [rows, classes] the logarithms of the probabilities."""
        scores = self._scores(X).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def decision_function(self, X: Any) -> np.ndarray:
        """Returns [rows, classes] scores; for two classes [rows], above 0 for the second."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores


class Regressor(RegressorMixin, Estimator):
    """An estimator that predicts numbers."""

    _y_numeric = True

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        self._single_target = y.ndim == 1
        target = np.asarray(y, np.float64).reshape(len(y), -1)
        self._n_targets = target.shape[1]
        return target

    @property
    def _n_outputs(self) -> int:
        return self._n_targets

    def predict(self, X: Any) -> np.ndarray:
        """Returns [rows], or [rows, targets] if y had two axes."""
        outputs = self._raw_outputs(X).astype(np.float64)
        return outputs[:, 0] if self._single_target else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


def checked_weight(sample_weight: Any, rows: int) -> np.ndarray:
    """Returns sample weights as [rows] float64, ones if none are given.

    Raises:
      ValueError: of another shape, or not finite and 0 or more.
    """
    if sample_weight is None:
        return np.ones(rows)
    try:
        weight = np.asarray(sample_weight)
        weight = weight if weight.dtype.kind == "c" else weight.astype(np.float64)
    except (TypeError, ValueError):
        weight = None
    if weight is None or weight.dtype.kind == "c":
        raise ValueError(
            f"sample_weight of type {type(sample_weight).__name__} does not hold numbers; give one "
            f"per row, [{rows}]"
        )
    if weight.ndim == 0:
        weight = np.full(rows, weight)
    if weight.shape != (rows,):
        raise ValueError(
            f"sample_weight has shape {list(weight.shape)}; give one weight per row, [{rows}]"
        )
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise ValueError(
            "sample_weight holds NaN, infinite or negative numbers; give finite ones, 0 or more"
        )
    return weight


def checked_rows(estimator: Estimator, X: Any) -> np.ndarray:
    """Returns the checked features of new rows; raises NotFittedError before `fit`."""
    check_is_fitted(estimator)
    return estimator._check_new_rows(X)


def checked_number(name: str, value: Any, high: float = np.inf, infinite: bool = False) -> float:
    """Returns a parameter as a float.

    Raises:
      ValueError: it is no number from 0 to `high`, or infinite where that is not allowed.
    """
    in_range = isinstance(value, Real) and value is not True and 0 <= float(value) <= high
    if not in_range or (np.isinf(float(value)) and not infinite):
        span = f"from 0 to {high:g}" if np.isfinite(high) else "0 or more"
        raise ValueError(f"{name}={value!r} must be a number, {span}")
    return float(value)
