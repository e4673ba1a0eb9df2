"""scikit-learn's four searches, whose candidates and splits vtune trains in one program.

Everything but the training is scikit-learn's own: candidates, splits, scoring, `cv_results_`, the
choice of the best. It searches over a stand-in (stand_in.py) that returns precomputed outputs.
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

from vtune.metrics import Metric
from vtune.sklearn.search.candidates import final_estimator
from vtune.sklearn.search.hand_over import trains_all
from vtune.sklearn.search.splits import Dataset
from vtune.sklearn.search.stand_in import Runner, StandIn, with_real_rows
from vtune.validation import is_number, is_whole

# The class of scorers that make_scorer returns. They only need predictions, no real rows.
SCORERS = type(get_scorer("accuracy")).__bases__


class _Search:
    """A search that trains every list of candidates of scikit-learn's search in one program."""

    estimator: Any
    scoring: Any
    n_jobs: Any
    return_train_score: bool
    refit: Any
    cv_results_: dict[str, Any]
    best_estimator_: Any
    _runner: Runner

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Trains all candidates on all splits, scores them and refits the best.

        Where a candidate is none of vtune.sklearn's estimators, all are fitted by scikit-learn.

        Args:
          X: [rows, features], whatever the estimator or the pipeline's first step takes.
          y: [rows]. params: scikit-learn's groups and sample_weight (for a pipeline
            `<step>__sample_weight`).

        Raises:
          TypeError: X is sparse. ValueError: as scikit-learn's class.
        """
        if not trains_all(self):
            return super().fit(X, y, **params)  # type: ignore[misc]
        self._check(X, params)
        weights = _sample_weight(self.estimator, params)
        dataset = Dataset(X, y, weights, self.return_train_score)
        refits = self.refit is not False and not hasattr(self, "resource")
        self._runner = Runner(self.estimator, dataset, refits)
        self._groups = params.get("groups")
        scoring = self.scoring
        replacements = {
            "estimator": StandIn(self._runner),
            "scoring": _scoring(scoring, dataset),
            "n_jobs": None,
        }
        try:
            with _replaced(self, replacements):
                super().fit(np.arange(len(dataset))[:, None], y, **params)  # type: ignore[misc]
        finally:
            runner = self.__dict__.pop("_runner")
            self.__dict__.pop("_groups")
            best = self.__dict__.get("best_estimator_")
            if isinstance(best, StandIn):
                self.best_estimator_ = best.real_estimator()
        self.cv_results_["mean_fit_time"] += np.asarray(runner.seconds)
        self._restore_scorers(scoring)
        return self

    def _restore_scorers(self, scoring: Any) -> None:
        """Sets `scorer_` to what the user gave, without the wrappers."""
        if scoring is None:
            self.scorer_ = check_scoring(self.estimator, None)
        elif callable(scoring):
            self.scorer_ = scoring
        elif isinstance(scoring, Mapping):
            self.scorer_ = {
                k: scoring[k] if callable(scoring[k]) else v for k, v in self.scorer_.items()
            }

    def _run_search(
        self, evaluate_candidates: Callable[..., Any], callback_ctx: Any = None
    ) -> None:
        """Trains candidates before they are evaluated; scikit-learn's hook for new searches."""
        parent: Any = super()._run_search  # type: ignore[misc]
        takes_context = "callback_ctx" in inspect.signature(parent).parameters
        context = {"callback_ctx": callback_ctx} if takes_context else {}
        runner = self.__dict__.get("_runner")
        if runner is None:  # scikit-learn fits the candidates
            parent(evaluate_candidates, **context)
            return

        def evaluate(candidate_params: Any, cv: Any = None, *rest: Any, **named: Any) -> Any:
            candidates = list(candidate_params)
            cv = cv or self._checked_cv_orig  # type: ignore[attr-defined]
            rows = cv.split(runner.dataset.X, runner.dataset.y, groups=self._groups)
            splits = [checked_split(*pair, len(runner.dataset)) for pair in enumerate(rows)]
            runner.train(candidates, splits)
            return evaluate_candidates(candidates, _FixedSplits(splits), *rest, **named)

        parent(evaluate, **context)

    def _check(self, X: Any, params: dict[str, Any]) -> None:
        name = type(self).__name__
        several = self.scoring.values() if isinstance(self.scoring, Mapping) else (self.scoring,)
        if any(isinstance(scorer, Metric) for scorer in several):
            raise TypeError(
                f"{name}: scoring= takes scikit-learn's scorers, not vt.metrics; write "
                'scoring="accuracy", or make_scorer(...)'
            )
        if not hasattr(X, "__len__") and not hasattr(X, "shape"):
            raise TypeError(f"{name}: X must be rows [rows, features], got {type(X).__name__}")
        if not (self.n_jobs is None or is_whole(self.n_jobs)):
            raise ValueError(f"{name}: n_jobs={self.n_jobs!r} must be a whole number or None")
        self._check_halving(name)
        if sparse.issparse(X) and not isinstance(self.estimator, Pipeline):
            raise TypeError(f"{name}: X is sparse, but dense data is required; use X.toarray()")
        if get_config()["enable_metadata_routing"]:
            return  # scikit-learn checks the names
        allowed = {"groups", _weight_name(self.estimator)}
        unknown = sorted(set(params) - allowed)
        if unknown:
            raise ValueError(
                f"{name}.fit: {unknown[0]}= is not passed on; it takes {sorted(allowed)}"
            )

    def _check_halving(self, name: str) -> None:
        """Says what scikit-learn would say of the stand-in, or by a division by zero."""
        factor: Any = getattr(self, "factor", None)
        resource: Any = getattr(self, "resource", "n_samples")
        if is_number(factor) and 0 < factor <= 1:
            raise ValueError(f"{name}: factor={factor!r} must be above 1")
        known = self.estimator.get_params()
        if isinstance(resource, str) and resource not in ("n_samples", *known):
            raise ValueError(
                f"{name}: resource={resource!r} is no parameter of "
                f'{type(self.estimator).__name__}; write "n_samples" or one of {sorted(known)}'
            )


class GridSearchCV(_Search, model_selection.GridSearchCV):
    """scikit-learn's GridSearchCV with all settings and folds in one program.

    Parameters and attributes are scikit-learn's. The estimator is one of vtune.sklearn's, or a
    pipeline that ends with one; the steps before it are fitted on the host, for each split. With
    any other estimator, or a subclass, this is scikit-learn's class.
    Settings that differ only in numbers that the estimator traces (C, alpha, lr, ...) are one
    cohort. `n_jobs` is not used: the program has all cores after `vt.use_all_cores()`.
    `mean_fit_time` is a fit's share of the program's run, without its compilation. A candidate is
    trained as its estimator is alone: with the same `random_state` it has the same first weights,
    row order and noise.
    """


class RandomizedSearchCV(_Search, model_selection.RandomizedSearchCV):
    """scikit-learn's RandomizedSearchCV with all settings and folds in one program.

    See `GridSearchCV`.
    """


class HalvingGridSearchCV(_Search, model_selection.HalvingGridSearchCV):
    """scikit-learn's HalvingGridSearchCV with each iteration's candidates in one program.

    See `GridSearchCV`. With `resource="n_samples"` iterations differ in the size of their data, so
    each compiles another program.
    """


class HalvingRandomSearchCV(_Search, model_selection.HalvingRandomSearchCV):
    """scikit-learn's HalvingRandomSearchCV with each iteration's candidates in one program.

    See `HalvingGridSearchCV`.
    """


def one_standard_error(
    cv_results: Mapping[str, Any] | None = None, *, by: str | None = None, metric: str = "score"
) -> Any:
    """Returns the simplest candidate within one standard error of the best, for `refit=`.

    Args:
      cv_results: scikit-learn's `cv_results_`. If left out, a function of them is returned, for
        `refit=one_standard_error(by="C")`.
      by: the parameter whose smallest value is the simplest; "-alpha" if the largest is. If left
        out, the first candidate is the simplest: list them from simple to complex.
      metric: the scorer's name, if there are several.

    Returns:
      The candidate's number. Among candidates with equal values, that of the best one.

    Raises:
      ValueError: `by` is no parameter that was searched, or `metric` none that was scored.

    Source: Breiman, Friedman, Olshen and Stone (1984), the 1 SE rule.
    """
    if cv_results is None:
        return lambda results: one_standard_error(results, by=by, metric=metric)
    scored = _scored(cv_results)
    if metric not in scored:
        raise ValueError(
            f"one_standard_error: there is no mean_test_{metric} in these results; give a search's "
            f"cv_results_, and metric= one of {sorted(scored)}"
        )
    mean = np.asarray(cv_results[f"mean_test_{metric}"], np.float64)
    if not np.isfinite(mean).any():
        return 0
    splits = [k for k in cv_results if k.startswith("split") and k.endswith(f"_test_{metric}")]
    best = int(np.nanargmax(mean))
    error = cv_results[f"std_test_{metric}"][best] / np.sqrt(max(len(splits) - 1, 1))
    close = np.flatnonzero(mean >= mean[best] - error)
    if by is None:
        return int(close[0])
    name, sign = by.removeprefix("-"), -1.0 if by.startswith("-") else 1.0
    if f"param_{name}" not in cv_results:
        searched = [key.removeprefix("param_") for key in cv_results if key.startswith("param_")]
        raise ValueError(
            f"one_standard_error: by={by!r} is no parameter that was searched; write one of "
            f"{searched}"
        )
    values = sign * np.asarray(cv_results[f"param_{name}"], np.float64)[close]
    return int(close[np.lexsort((-mean[close], values))[0]])


def _scored(cv_results: Any) -> set[str]:
    """Returns the names of the scorers; none of what is no `cv_results_`."""
    begin, keys = "mean_test_", cv_results if isinstance(cv_results, Mapping) else ()
    return {key.removeprefix(begin) for key in keys if key.startswith(begin)}


class _FixedSplits:
    """A cross-validator that returns given splits."""

    def __init__(self, splits: list[Any]):
        self._splits = splits

    def split(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(self._splits)

    def get_n_splits(self, *_: Any, **__: Any) -> int:
        return len(self._splits)


@contextlib.contextmanager
def _replaced(search: Any, attributes: dict[str, Any]) -> Iterator[None]:
    """Replaces attributes of a search inside the context."""
    before = {name: getattr(search, name) for name in attributes if hasattr(search, name)}
    try:
        for name in before:
            setattr(search, name, attributes[name])
        yield
    finally:
        for name, value in before.items():
            setattr(search, name, value)


def _scoring(scoring: Any, dataset: Dataset) -> Any:
    """Returns `scoring`, whose functions written by the user get the rows themselves."""
    needs_rows = lambda scorer: callable(scorer) and not isinstance(scorer, SCORERS)
    if needs_rows(scoring):
        return with_real_rows(scoring, dataset)
    if isinstance(scoring, Mapping):
        return {k: with_real_rows(s, dataset) if needs_rows(s) else s for k, s in scoring.items()}
    return scoring


def _weight_name(estimator: Any) -> str:
    if isinstance(estimator, Pipeline):
        return f"{estimator.steps[-1][0]}__sample_weight"
    return "sample_weight"


def _sample_weight(estimator: Any, params: dict[str, Any]) -> Any:
    """Returns the parameter of `fit` that the final estimator takes as sample_weight, or None."""
    if not get_config()["enable_metadata_routing"]:
        return params.get(_weight_name(estimator))
    final = final_estimator(estimator)
    if not hasattr(final, "get_metadata_routing"):  # a last step that the candidates set
        return None
    requests = final.get_metadata_routing().fit.requests
    request = requests.get("sample_weight")
    if not request:
        return None
    return params.get(request if isinstance(request, str) else "sample_weight")


def checked_split(number: int, pair: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row numbers of a split; some splitters return masks, and -1 is the last row.

    Raises:
      ValueError: it has no rows, or some that do not exist.
    """
    every, split = np.arange(count), []
    for name, rows in zip(("training", "test"), pair, strict=True):
        try:
            taken = every[np.asarray(rows)]
        except IndexError:
            taken = every[:0]
        if taken.ndim != 1 or not len(taken):
            raise ValueError(
                f"cv: the {name} rows of split {number} must be one or more of 0 to {count - 1}, "
                f"as whole numbers or as a mask, got {rows!r}"
            )
        split.append(taken)
    return split[0], split[1]
