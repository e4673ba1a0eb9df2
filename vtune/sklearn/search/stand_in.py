"""What scikit-learn's search fits in place of the user's estimator: it is trained already."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import get_routing_for_object

from vtune.sklearn.search.candidates import final_estimator, run
from vtune.sklearn.search.splits import Dataset, Split
from vtune.sklearn.search.trained import CandidateTable, TrainedCandidate


class Runner:
    """Trains the candidates that a search asks for, and hands them out in its order.

    Args:
      base: the user's estimator. dataset: what the search is fitted to.
      refits: whether the best candidate is refitted.
    """

    def __init__(self, base: Any, dataset: Dataset, refits: bool):
        self._ahead: list[threading.Thread] | None = [] if refits else None
        self.base = base
        self.dataset = dataset
        self.seconds: list[float] = []  # per candidate, the time of one fit
        self._table: CandidateTable | None = None
        self._queue: Iterator[tuple[TrainedCandidate, np.ndarray]] = iter(())

    def train(self, candidates: Sequence[dict], splits: Sequence[Split]) -> None:
        """Trains all candidates before scikit-learn asks for the first."""
        self._table = run(self.base, candidates, splits, self.dataset, self._ahead)
        for thread in self._ahead or ():
            thread.join()
        self._ahead = None
        self.seconds.extend(self._table.seconds)
        self._queue = iter(
            [
                (trained, training)
                for row in self._table.trained
                for trained, (training, _) in zip(row, splits, strict=True)
            ]
        )

    def refit(self, estimator: Any, **params: Any) -> Any:
        """Fits an estimator to all rows, by the candidates' program if it can."""
        final = final_estimator(estimator)
        if self._table is not None:
            final._refit = self._table.refit
        try:
            return estimator.fit(self.dataset.X, self.dataset.y, **params)
        finally:
            vars(final).pop("_refit", None)

    def next(self, rows: np.ndarray) -> TrainedCandidate | None:
        """Returns the next candidate and split in scikit-learn's order, None after the last.

        Args:
          rows: the training rows that scikit-learn asks for.
        """
        trained, expected = next(self._queue, (None, rows))
        if not np.array_equal(expected, rows):
            raise RuntimeError(
                "this version of scikit-learn fits candidates in another order than vtune knows"
            )
        return trained


class StandIn(BaseEstimator):
    """The estimator that scikit-learn's search sees; its X holds row numbers."""

    def __init__(self, runner: Runner, params: dict[str, Any] | None = None):
        self._runner = runner
        self._params = dict(params or {})
        self._fitted: Any = None
        self.trained: TrainedCandidate | None = None

    def __sklearn_clone__(self) -> StandIn:
        return StandIn(self._runner, self._params)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self._runner.base)

    def get_metadata_routing(self) -> Any:
        return get_routing_for_object(self._runner.base)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return self._runner.base.get_params(deep) | self._params

    def set_params(self, **params: Any) -> StandIn:
        self._params |= params
        return self

    def fit(self, X: Any, y: Any = None, **params: Any) -> StandIn:
        rows = np.asarray(X).ravel()
        self.trained = self._runner.next(rows)
        if self.trained is not None:
            self._fitted = self.trained.precomputed_estimator()
        else:  # after the last candidate comes the refit
            self._fitted = self._runner.refit(self.real_estimator(), **params)
        return self

    def real_estimator(self) -> Any:
        """Returns the refitted estimator, or an unfitted one if the refit failed."""
        if self._fitted is not None:
            return self._fitted
        return clone(self._runner.base).set_params(**clone(self._params, safe=False))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return self._fitted.score(X, y, sample_weight=sample_weight)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_fitted", "_runner", "_params"):
            raise AttributeError(name)
        return getattr(self._fitted, name)


def with_real_rows(scorer: Callable[..., Any], dataset: Dataset) -> Callable[..., Any]:
    """Wraps a scorer that the user wrote: it gets the fitted estimator and the rows themselves."""

    @functools.wraps(scorer)  # scikit-learn looks at its parameters
    def score(stand_in: StandIn, X: Any, y: Any, **params: Any) -> Any:
        assert stand_in.trained is not None
        rows = dataset.take(np.asarray(X).ravel())
        return scorer(stand_in.trained.estimator(), rows, y, **params)

    return score
