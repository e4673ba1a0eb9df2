"""What scikit-learn's search is given to fit: it finds what the program has trained already."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import get_routing_for_object

from vtune.sklearn.search.candidates import Table, Trained, last_step, run
from vtune.sklearn.search.splits import Rows, Split


class Runner:
    """Trains the candidates that a search asks for, and hands them out in its order.

    Args:
      base: the user's estimator. rows: as passed to the search. refit: whether the best is.
    """

    def __init__(self, base: Any, rows: Rows, refit: bool):
        self._ahead: list[Any] | None = [] if refit else None
        self.base = base
        self.rows = rows
        self.seconds: list[float] = []  # by candidate, what each fit took
        self._table: Table | None = None
        self._asked: Iterator[tuple[Trained, np.ndarray]] = iter(())

    def train(self, candidates: Sequence[dict], splits: Sequence[Split]) -> None:
        """All of them, before they are asked for."""
        table = self._table = run(self.base, candidates, splits, self.rows, self._ahead)
        for thread in self._ahead or ():
            thread.join()
        self._ahead = None
        self.seconds.extend(table.seconds)
        pairs = [
            (own, split[0]) for row in table.trained for own, split in zip(row, splits, strict=True)
        ]
        self._asked = iter(pairs)

    def refit(self, estimator: Any, **params: Any) -> Any:
        """Fits an estimator to all rows, by the program of the candidates where it can."""
        tail = last_step(estimator)
        if self._table is not None:
            tail._again = self._table.again
        try:
            return estimator.fit(self.rows.X, self.rows.y, **params)
        finally:
            vars(tail).pop("_again", None)

    def next(self, rows: np.ndarray) -> Trained | None:
        """The next one in scikit-learn's order, candidates first; None when all were asked for."""
        trained, expected = next(self._asked, (None, rows))
        if not np.array_equal(expected, rows):
            raise RuntimeError(
                "this version of scikit-learn fits candidates in another order than vtune knows"
            )
        return trained


class Replay(BaseEstimator):
    """In place of the user's estimator inside scikit-learn's search. X are numbers of rows."""

    def __init__(self, runner: Runner, params: dict[str, Any] | None = None):
        self._runner = runner
        self._params = dict(params or {})
        self._fitted: Any = None
        self.trained: Trained | None = None

    def __sklearn_clone__(self) -> Replay:
        return Replay(self._runner, self._params)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self._runner.base)

    def get_metadata_routing(self) -> Any:
        return get_routing_for_object(self._runner.base)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return self._runner.base.get_params(deep) | self._params

    def set_params(self, **params: Any) -> Replay:
        self._params |= params
        return self

    def fit(self, X: Any, y: Any = None, **params: Any) -> Replay:
        rows = np.asarray(X).ravel()
        self.trained = self._runner.next(rows)
        if self.trained is not None:
            self._fitted = self.trained.stand_in()
        else:  # all candidates were handed out: this is the refit
            self._fitted = self._runner.refit(self.real(), **params)
        return self

    def real(self) -> Any:
        """The refitted estimator; one that is not fitted where that failed."""
        if self._fitted is not None:
            return self._fitted
        return clone(self._runner.base).set_params(**clone(self._params, safe=False))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return self._fitted.score(X, y, sample_weight=sample_weight)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_fitted", "_runner", "_params"):
            raise AttributeError(name)
        return getattr(self._fitted, name)


def on_rows(scorer: Callable[..., Any], rows: Rows) -> Callable[..., Any]:
    """A user's own scorer: it is given the fitted estimator and the rows themselves."""

    @functools.wraps(scorer)  # scikit-learn looks at its parameters
    def score(replay: Replay, X: Any, y: Any, **params: Any) -> Any:
        assert replay.trained is not None
        return scorer(replay.trained.estimator(), rows.take(np.asarray(X).ravel()), y, **params)

    return score
