"""What training leaves of a search's candidates: on every split one, or why it failed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from vtune.sklearn.estimators.base import Estimator
from vtune.sklearn.search.splits import Split
from vtune.sklearn.training.spec import Setting
from vtune.sklearn.training.train import (
    Fitted,
    TrainedTogether,
    precision,
    refit,
    trains_in_turn,
)


@dataclass
class TrainedCandidate:
    """One candidate trained on one split.

    Attributes:
      final: the final estimator, not fitted, but with what it learned of the targets.
      transformers: the fitted steps before it, or None.
      base: the estimator or pipeline with the candidate's parameters.
      setting: its parameters for the program.
      together, member, fold: where its weights are.
      rows: the rows that it is scored on. outputs: [rows, outputs].
      iterations: of the solver, for a linear model.
      error, error_frames: why and where it failed, or None.
    """

    final: Estimator | None = None
    transformers: Pipeline | None = None
    base: Any = None
    setting: Setting | None = None
    together: TrainedTogether | None = None
    member: int = 0
    fold: int = 0
    rows: np.ndarray | None = None
    outputs: np.ndarray | None = None
    iterations: int | None = None
    error: Exception | None = None
    error_frames: TracebackType | None = None

    def precomputed_estimator(self) -> Any:
        """Returns a fitted estimator that takes row numbers as X and looks up the outputs.

        It warns as the estimator's `fit` does.

        Raises:
          Exception: what the training raised.
        """
        if self.error is not None:  # raised once per candidate, always with its first frames
            raise self.error.with_traceback(self.error_frames)
        assert self.final is not None
        assert self.rows is not None
        assert self.outputs is not None
        place = np.full(int(self.rows.max()) + 1, -1)
        place[self.rows] = np.arange(len(self.rows))
        outputs, estimator = self.outputs, copy.copy(self.final)
        estimator._raw_outputs = lambda X: outputs[place[np.asarray(X).ravel()]]  # type: ignore
        if self.iterations is not None:
            estimator._warn_of_iterations(self.iterations)
        return estimator

    def estimator(self) -> Any:
        """Returns the fitted estimator or pipeline, for a scorer that the user wrote."""
        assert self.together is not None
        assert self.setting is not None
        assert self.final is not None
        final = copy.copy(self.final)
        with precision(self.setting.spec.float64):
            final._keep_state(self.setting, self.together.state(self.member, self.fold))
        if not isinstance(self.base, Pipeline):
            return final
        steps = [] if self.transformers is None else list(self.transformers.steps)
        return Pipeline([*steps, (self.base.steps[-1][0], final)])


class CandidateTable:
    """All candidates trained on all splits.

    Attributes:
      trained: by candidate and split.
      seconds: by candidate, the time of one fit: its share of the program's.
    """

    def __init__(self, candidates: Sequence[dict], splits: Sequence[Split]):
        self.trained = [[TrainedCandidate() for _ in splits] for _ in candidates]
        self.seconds = np.zeros(len(candidates))

    def refit(self, setting: Setting, arrays: dict[str, np.ndarray]) -> Fitted | None:
        """Trains a candidate's setting on all rows by its own program; None if that cannot."""
        if not trains_in_turn():
            return None
        for trained in (trained for row in self.trained for trained in row):
            if trained.together is None or trained.setting is None:
                continue
            if trained.setting._replace(seed=setting.seed) == setting:
                fitted = refit(trained.together, trained.member, setting, arrays)
                if fitted is not None:  # the same setting may follow other transformers
                    return fitted
        return None

    def fail(self, numbers: Iterable[int], split: int, error: Exception) -> None:
        """Notes the error of candidates on a split."""
        for number in numbers:
            trained = self.trained[number][split]
            trained.error, trained.error_frames = error, error.__traceback__
