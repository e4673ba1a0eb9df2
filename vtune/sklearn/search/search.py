"""scikit-learn's four searches, their candidates and splits trained by vtune in one program.

Everything but the training is scikit-learn's own: candidates, splits, scoring, `cv_results_`, which
candidate is best. Its search is given a stand-in (`replay`) that answers from what was trained.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config, model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import check_scoring, get_scorer
from sklearn.pipeline import Pipeline

from vtune.sklearn.estimators.base import Estimator
from vtune.sklearn.search.candidates import last_step
from vtune.sklearn.search.splits import Rows
from vtune.sklearn.search.stand_in import Replay, Runner, on_rows

SCORERS = type(get_scorer("accuracy")).__bases__  # what make_scorer gives: it calls predict alone


class _Search:
    """One program for each list of candidates that scikit-learn's search comes up with."""

    estimator: Any
    scoring: Any
    return_train_score: bool
    refit: Any
    cv_results_: dict[str, Any]
    best_estimator_: Any
    _runner: Runner

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Trains all candidates on all splits, scores them and refits the best.

        Args:
          X: [rows, features], whatever the estimator or the pipeline's first step takes.
          y: [rows]. params: as scikit-learn's: groups, sample_weight (of a pipeline
            `<step>__sample_weight`).

        Raises:
          TypeError: the estimator is not vtune's, or X is sparse.
          ValueError: as scikit-learn's class.
        """
        self._check(X, params)
        rows = Rows(X, y, _weights(self.estimator, params), self.return_train_score)
        self._runner = Runner(
            self.estimator, rows, self.refit is not False and not hasattr(self, "resource")
        )
        self._groups = params.get("groups")
        scoring = self.scoring
        lookalike = {
            "estimator": Replay(self._runner),
            "scoring": _scoring(scoring, rows),
            "n_jobs": None,
        }
        try:
            with _instead(self, lookalike):
                super().fit(np.arange(len(rows))[:, None], y, **params)  # type: ignore[misc]
        finally:
            runner = self.__dict__.pop("_runner")
            self.__dict__.pop("_groups")
            best = self.__dict__.get("best_estimator_")
            if isinstance(best, Replay):
                self.best_estimator_ = best.real()
        self.cv_results_["mean_fit_time"] += np.asarray(runner.seconds)
        if scoring is None:
            self.scorer_ = check_scoring(self.estimator, None)
        elif callable(scoring):
            self.scorer_ = scoring
        elif isinstance(scoring, Mapping):
            self.scorer_ = {
                k: scoring[k] if callable(scoring[k]) else v for k, v in self.scorer_.items()
            }
        return self

    def _run_search(
        self, evaluate_candidates: Callable[..., Any], callback_ctx: Any = None
    ) -> None:
        """Trains what is about to be evaluated. (scikit-learn's own place for such changes.)"""
        runner = self._runner

        def evaluate(candidate_params: Any, cv: Any = None, *rest: Any, **named: Any) -> Any:
            candidates = list(candidate_params)
            cv = cv or self._checked_cv_orig  # type: ignore[attr-defined]
            splits = [
                (_indices(train), _indices(test))
                for train, test in cv.split(runner.rows.X, runner.rows.y, groups=self._groups)
            ]
            runner.train(candidates, splits)
            return evaluate_candidates(candidates, _Splits(splits), *rest, **named)

        parent: Any = super()._run_search  # type: ignore[misc]
        known = "callback_ctx" in inspect.signature(parent).parameters
        parent(evaluate, **({"callback_ctx": callback_ctx} if known else {}))

    def _check(self, X: Any, params: dict[str, Any]) -> None:
        name, tail = type(self).__name__, last_step(self.estimator)
        if not isinstance(tail, Estimator):
            raise TypeError(
                f"{name}: {type(tail).__name__} is not one of vtune.sklearn's estimators, which "
                f"are trained in one program; for others use sklearn.model_selection.{name}"
            )
        if sparse.issparse(X) and not isinstance(self.estimator, Pipeline):
            raise TypeError(f"{name}: X is sparse, but dense data is required; use X.toarray()")
        if type(tail).__module__.split(".")[0] != "vtune":
            raise TypeError(
                f"{name}: {type(tail).__name__} is a subclass, whose own methods would not be "
                f"called; use sklearn.model_selection.{name}"
            )
        if get_config()["enable_metadata_routing"]:
            return  # scikit-learn checks the names
        known = {"groups", _weight_name(self.estimator)}
        unknown = sorted(set(params) - known)
        if unknown:
            raise ValueError(
                f"{name}.fit: {unknown[0]}= is not passed on; it takes {sorted(known)}"
            )


class GridSearchCV(_Search, model_selection.GridSearchCV):
    """scikit-learn's GridSearchCV with all settings and folds in one program.

    Parameters and attributes are scikit-learn's. The estimator is one of vtune.sklearn's, or a
    pipeline that ends with one: the steps before it are fitted on the host, for each split. Numbers
    that the estimator traces (C, alpha, lr, ...) are one cohort, whatever their values. `n_jobs` is
    not used: the program has all cores after `vt.use_all_cores()`. `mean_fit_time` is each fit's
    share of the program. Networks draw their weights by the candidate's place in the list and by
    the split, so the same setting elsewhere in a list has others.

    Raises:
      TypeError: (when fitted) an estimator that is not vtune's.
    """


class RandomizedSearchCV(_Search, model_selection.RandomizedSearchCV):
    """scikit-learn's RandomizedSearchCV with all settings and folds in one program; see
    `GridSearchCV`."""


class HalvingGridSearchCV(_Search, model_selection.HalvingGridSearchCV):
    """scikit-learn's HalvingGridSearchCV with each iteration's candidates in one program; see
    `GridSearchCV`. With `resource="n_samples"` each iteration has data of another size, and so a
    program of its own."""


class HalvingRandomSearchCV(_Search, model_selection.HalvingRandomSearchCV):
    """scikit-learn's HalvingRandomSearchCV with each iteration's candidates in one program; see
    `HalvingGridSearchCV`."""


def one_standard_error(
    cv_results: Mapping[str, Any] | None = None, *, by: str | None = None, metric: str = "score"
) -> Any:
    """For `refit=`: the simplest candidate that is within one standard error of the best.

    Args:
      cv_results: as scikit-learn gives them; without, a function of them is returned, for
        `refit=one_standard_error(by="C")`.
      by: the parameter whose smallest value is the simplest, "-alpha" for the largest; without, the
        first candidate is: list them from simple to complex.
      metric: the scorer's name, where there are several.

    Returns:
      The candidate's number. Of those with equal values the best.

    Source: Breiman, Friedman, Olshen and Stone (1984), the 1 SE rule.
    """
    if cv_results is None:
        return lambda results: one_standard_error(results, by=by, metric=metric)
    mean = np.asarray(cv_results[f"mean_test_{metric}"], np.float64)
    if not np.isfinite(mean).any():
        return 0
    splits = [k for k in cv_results if k.startswith("split") and k.endswith(f"_test_{metric}")]
    best = int(np.nanargmax(mean))
    error = cv_results[f"std_test_{metric}"][best] / np.sqrt(max(len(splits) - 1, 1))
    near = np.flatnonzero(mean >= mean[best] - error)
    if by is None:
        return int(near[0])
    name, sign = by.removeprefix("-"), -1.0 if by.startswith("-") else 1.0
    if f"param_{name}" not in cv_results:
        raise ValueError(f"one_standard_error: by={by!r} is no parameter that was searched")
    values = sign * np.asarray(cv_results[f"param_{name}"], np.float64)[near]
    return int(near[np.lexsort((-mean[near], values))[0]])


class _Splits:
    """Splits that are known."""

    def __init__(self, splits: list[Any]):
        self._splits = splits

    def split(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(self._splits)

    def get_n_splits(self, *_: Any, **__: Any) -> int:
        return len(self._splits)


@contextlib.contextmanager
def _instead(owner: Any, attributes: dict[str, Any]) -> Iterator[None]:
    """Other attributes within."""
    before = {name: getattr(owner, name) for name in attributes if hasattr(owner, name)}
    try:
        for name in before:
            setattr(owner, name, attributes[name])
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def _scoring(scoring: Any, rows: Rows) -> Any:
    """The same scoring, where functions of the user's own get the rows themselves."""
    own = lambda s: callable(s) and not isinstance(s, SCORERS)
    if own(scoring):
        return on_rows(scoring, rows)
    if isinstance(scoring, Mapping):
        return {name: on_rows(s, rows) if own(s) else s for name, s in scoring.items()}
    return scoring


def _weight_name(estimator: Any) -> str:
    if isinstance(estimator, Pipeline):
        return f"{estimator.steps[-1][0]}__sample_weight"
    return "sample_weight"


def _weights(estimator: Any, params: dict[str, Any]) -> Any:
    """The weights of rows that the estimator is to be fitted with."""
    if not get_config()["enable_metadata_routing"]:
        return params.get(_weight_name(estimator))
    asked = last_step(estimator).get_metadata_routing().fit.requests.get("sample_weight")
    return params.get(asked if isinstance(asked, str) else "sample_weight") if asked else None


def _indices(part: Any) -> np.ndarray:
    """Of rows, where a split says so by a mask, too."""
    part = np.asarray(part)
    return np.flatnonzero(part) if part.dtype == bool else part
