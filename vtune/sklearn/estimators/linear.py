"""LogisticRegression, Ridge, Lasso and ElasticNet: scikit-learn's models, trained by vtune."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from vtune.callers import users_line
from vtune.sklearn.estimators.base import (
    Classifier,
    Estimator,
    Regressor,
    checked_number,
    checked_rows,
)
from vtune.sklearn.training.linear_spec import LinearSpec
from vtune.sklearn.training.spec import Setting
from vtune.types import PyTree
from vtune.validation import check_flag, is_whole

PENALTIES = ("l1", "l2", "elasticnet", None, "deprecated")


class _Linear(Estimator):
    """A linear model, solved to the optimum in float64 (see `training.proximal_gradient`)."""

    coef_: np.ndarray
    intercept_: Any
    n_iter_: Any
    fit_intercept: bool
    max_iter: int
    tol: float
    warm_start: bool

    def _strengths(self) -> tuple[float, float]:
        """Returns (l1, l2), the factors of the two penalties."""
        raise NotImplementedError

    def _spec(self, outputs: int) -> LinearSpec:
        raise NotImplementedError

    def _setting(self, outputs: int) -> Setting:
        if not is_whole(self.max_iter) or self.max_iter < 1:
            raise ValueError(f"max_iter={self.max_iter!r} must be a whole number, 1 or more")
        checked_number("tol", self.tol)
        for name in ("fit_intercept", "warm_start"):
            check_flag(type(self).__name__, name, getattr(self, name))
        l1, l2 = self._strengths()
        numbers = {"l1": l1, "l2": l2, "max_iter": float(self.max_iter), "tol": float(self.tol)}
        return Setting(self._spec(outputs), numbers, epochs=1, batch_size=None, seed=0)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fits the model.

        Args:
          X: [rows, features]. y: [rows]. sample_weight: [rows], 0 or more.

        Raises:
          ValueError: the data or a parameter is wrong.

        Warns:
          ConvergenceWarning: `max_iter` was reached before `tol`.
        """
        start = self._start() if self.warm_start and hasattr(self, "coef_") else None
        self._fit(X, y, sample_weight, start, False)
        self._warn_of_iterations(int(np.max(self.n_iter_)))
        return self

    def _warn_of_iterations(self, iterations: int) -> None:
        if iterations >= self.max_iter:
            warnings.warn(
                f"{type(self).__name__} stopped after max_iter={self.max_iter} iterations before "
                f"it reached tol={self.tol}; give more, or a larger tol",
                ConvergenceWarning,
                stacklevel=users_line(),
            )

    def _start(self) -> PyTree:
        """Returns the weights of the last fit."""
        coef = np.atleast_2d(self.coef_).T
        return {"coef": coef, "intercept": np.broadcast_to(self.intercept_, coef.shape[1]).copy()}

    def _keep_state(self, setting: Setting, state: PyTree) -> None:
        self.coef_ = np.asarray(state["coef"]).T
        self.intercept_ = np.asarray(state["intercept"])
        self.n_iter_ = np.asarray(state["n_iter"]).reshape(1)

    def _raw_outputs(self, X: Any) -> np.ndarray:
        x = checked_rows(self, X)
        return x @ np.atleast_2d(self.coef_).T + np.atleast_1d(self.intercept_)


class LogisticRegression(_Linear, Classifier):
    """Logistic regression, multinomial with more than two classes.

    Minimises `C * sum(log loss) + l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2`; intercepts are not
    penalised. Parameters are scikit-learn's: the penalty is given by `penalty`, or by `l1_ratio`
    alone. C, l1_ratio, max_iter and tol are traced: a search over them is one cohort.

    Args:
      C: above 0, the inverse of the penalty's strength; `np.inf` for none.
      penalty: "l1", "l2", "elasticnet" (by l1_ratio) or None. If left out, l1_ratio decides.
      l1_ratio: 0 (ridge) to 1 (lasso).
      class_weight: "balanced", a dict by class, or None.
      fit_intercept: whether there are intercepts.
      max_iter: iterations at most.
      tol: iteration stops when no entry of the gradient is larger than tol times the largest one
        at zero weights (for features with variance 1).
      random_state: not used; the optimum is unique up to tol.
      warm_start: the next fit starts at the last one's weights.

    Attributes:
      coef_: [classes, features], [1, features] for two classes. intercept_: [classes] or [1].
      classes_, n_features_in_, feature_names_in_, n_iter_: as in scikit-learn.

    Sources: see `vtune.sklearn.training.proximal_gradient`.
    """

    def __init__(
        self,
        C: Any = 1.0,
        *,
        penalty: Any = "deprecated",
        l1_ratio: Any = 0.0,
        class_weight: Any = None,
        fit_intercept: bool = True,
        max_iter: int = 5000,
        tol: float = 1e-6,
        random_state: Any = None,
        warm_start: bool = False,
    ):
        self.C = C
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.warm_start = warm_start

    def _strengths(self) -> tuple[float, float]:
        C = checked_number("C", self.C, infinite=True)
        if C == 0:
            raise ValueError("C=0 must be above 0; write a small number for a strong penalty")
        if self.penalty not in PENALTIES:
            raise ValueError(f'penalty={self.penalty!r} must be "l1", "l2", "elasticnet" or None')
        if self.penalty is None:
            return 0.0, 0.0
        if self.penalty in ("l1", "l2"):
            ratio = float(self.penalty == "l1")
        else:
            ratio = checked_number("l1_ratio", self.l1_ratio, high=1.0)
        return ratio / C, (1 - ratio) / C

    def _spec(self, outputs: int) -> LinearSpec:
        return LinearSpec(
            classifier=True,
            outputs=outputs if outputs > 2 else 1,
            intercept=bool(self.fit_intercept),
            mean=False,
        )


class _LinearRegressor(_Linear, Regressor):
    _mean = True  # whether the loss is the mean over rows

    def _spec(self, outputs: int) -> LinearSpec:
        return LinearSpec(
            classifier=False,
            outputs=outputs,
            intercept=bool(self.fit_intercept),
            mean=self._mean,
        )

    def _keep_state(self, setting: Setting, state: PyTree) -> None:
        super()._keep_state(setting, state)
        if self._single_target:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        self.n_iter_ = int(self.n_iter_[0])


class Ridge(_LinearRegressor):
    """Least squares with an L2 penalty: minimises `|y - Xw|^2 + alpha |w|^2`.

    Args:
      alpha: 0 or more. fit_intercept, max_iter, tol, random_state, warm_start: as for
        `LogisticRegression`.

    Attributes:
      coef_: [features], or [targets, features]. intercept_: a number, or [targets].
    """

    _mean = False

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        max_iter: int = 20_000,
        tol: float = 1e-10,
        random_state: Any = None,
        warm_start: bool = False,
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.warm_start = warm_start

    def _strengths(self) -> tuple[float, float]:
        return 0.0, checked_number("alpha", self.alpha)


class ElasticNet(_LinearRegressor):
    """Least squares with both penalties: minimises
    `|y - Xw|^2 / (2 rows) + alpha l1_ratio |w|_1 + alpha (1 - l1_ratio) / 2 |w|^2`.

    Args:
      alpha: 0 or more. l1_ratio: 0 to 1. Others as for `Ridge`.

    Attributes:
      coef_, intercept_: as for `Ridge`.
    """

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        l1_ratio: Any = 0.5,
        fit_intercept: bool = True,
        max_iter: int = 20_000,
        tol: float = 1e-8,
        random_state: Any = None,
        warm_start: bool = False,
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.warm_start = warm_start

    def _strengths(self) -> tuple[float, float]:
        alpha, ratio = (
            checked_number("alpha", self.alpha),
            checked_number("l1_ratio", self.l1_ratio, high=1.0),
        )
        return alpha * ratio, alpha * (1 - ratio)


class Lasso(_LinearRegressor):
    """Least squares with an L1 penalty: minimises `|y - Xw|^2 / (2 rows) + alpha |w|_1`.

    Args:
      alpha: 0 or more. Others as for `Ridge`.

    Attributes:
      coef_, intercept_: as for `Ridge`.
    """

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        max_iter: int = 20_000,
        tol: float = 1e-8,
        random_state: Any = None,
        warm_start: bool = False,
    ):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.warm_start = warm_start

    def _strengths(self) -> tuple[float, float]:
        return checked_number("alpha", self.alpha), 0.0
