"""The pieces of a round in their order, and what is read for each. Nothing is traced here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from vtune.engine.lanes import START, Lane, Reading, Stage, stage_number
from vtune.engine.pieces import Piece
from vtune.engine.plan import Plan
from vtune.engine.stepping import round_boundaries

Rows = dict[str, np.ndarray]


class Errand(NamedTuple):
    """One call of the program, and what is to be read for it.

    Attributes:
      piece: the numbers that it is called with.
      lane: the lane's number; None where it is for all.
      read: reads the rows; None where the piece needs none.
      trains: whether what is read is trained on, in the order of the training.
      what: is read, for messages.
    """

    piece: Piece
    lane: int | None
    read: Callable[[], Rows] | None = None
    trains: bool = False
    what: str = ""


class Schedule:
    """What the rounds of a plan consist of.

    Args:
      data: on the host. seed: of the sweep. lanes, readings: of the plan, see `engine.lanes`.
    """

    def __init__(
        self,
        plan: Plan,
        data: Any,
        seed: int,
        lanes: tuple[Lane, ...],
        readings: tuple[Reading, ...],
    ):
        self._plan, self._data, self._seed = plan, data, seed
        self._lanes, self._readings = lanes, readings
        self._folds = data.folds if data.folded else 1

    def start(self, number: int) -> Errand:
        """Returns the errand that makes the members, before round `number`."""
        most = max(lane.cohort.batch_size or 1 for lane in self._lanes)
        read = lambda: self._data.read_first(most)
        return Errand(self._piece(START, number), None, read, what="the first training rows")

    def round(self, number: int) -> Iterator[Errand]:
        """Yields the errands of one round, lane by lane."""
        for index, lane in enumerate(self._lanes):
            if lane.first <= number < lane.stop:
                yield from self._of_lane(index, lane, self._readings[index], number)

    def _of_lane(self, index: int, lane: Lane, sent: Reading, number: int) -> Iterator[Errand]:
        plain = lambda stage: Errand(self._piece(stage_number(index, stage), number), index)
        yield plain(Stage.BEGIN)
        yield from self._chunks(index, lane, sent, number)
        end = round_boundaries(lane.cohort, self._plan.rounds)[number + 1]
        yield self._refreshing(index, lane, sent, number, end)
        yield from self._scorings(index, sent, number)
        yield plain(Stage.END)

    def _chunks(self, index: int, lane: Lane, sent: Reading, number: int) -> Iterator[Errand]:
        """Yields chunks of steps that end where an epoch or the round does; folds with steps of
        their own go side by side, each at its own pace."""
        stage = stage_number(index, Stage.TRAIN)
        bounds = round_boundaries(lane.cohort, self._plan.rounds)
        step, end = np.atleast_1d(bounds[number]), np.atleast_1d(bounds[number + 1])
        per_epoch = self._steps_per_epoch(lane)
        while (step < end).any():
            count = np.minimum(np.minimum(per_epoch - step % per_epoch, end - step), sent.steps)
            piece = self._piece(stage, number, first=step, steps=count)
            first, last = int(step.min()), int((step + count).max()) - 1
            steps = f"step {first}" if first == last else f"steps {first} to {last}"
            read = self._training(lane, step, int(count.max()))
            yield Errand(piece, index, read, True, f"the rows of {steps}")
            step = step + count

    def _refreshing(
        self, index: int, lane: Lane, sent: Reading, number: int, end: np.ndarray
    ) -> Errand:
        piece = self._piece(stage_number(index, Stage.TRAINED), number)
        if not sent.refreshing:
            return Errand(piece, index)
        step = np.atleast_1d(end)
        epoch = step // self._steps_per_epoch(lane)
        read = self._training(lane, epoch * self._steps_per_epoch(lane), sent.refreshing)
        return Errand(piece, index, read, what="the rows that statistics are computed of")

    def _scorings(self, index: int, sent: Reading, number: int) -> Iterator[Errand]:
        stage, size = stage_number(index, Stage.SCORE), self._plan.eval_batch_size
        for first in range(0, sent.batches, sent.scoring):
            count = min(sent.scoring, sent.batches - first)
            read = lambda first=first, count=count: self._data.read_validation(first, count, size)
            piece = self._piece(stage, number, batch=first, batches=count)
            yield Errand(piece, index, read, what=f"validation batches from {first} on")

    def _steps_per_epoch(self, lane: Lane) -> np.ndarray:
        by_fold, per_epoch = lane.cohort.by_fold, lane.cohort.steps_per_epoch
        if by_fold is None:
            return np.array([per_epoch])
        return np.maximum([fold.steps_per_epoch for fold in by_fold], 1)

    def _training(self, lane: Lane, step: np.ndarray, count: int) -> Callable[[], Rows]:
        """Returns what reads `count` batches from `step` on, each fold's from its own."""
        per_epoch = self._steps_per_epoch(lane)
        epoch, first = step // per_epoch, step % per_epoch
        size = lane.cohort.batch_size
        if not self._data.folded:
            at: Any = (int(epoch[0]), int(first[0]))
        else:
            at = [np.broadcast_to(part, (self._folds,)) for part in (epoch, first)]
        return lambda: self._data.read_training(self._seed, *at, count, size)

    def _piece(
        self,
        stage: int,
        number: int,
        first: Any = 0,
        steps: Any = 0,
        batch: int = 0,
        batches: int = 0,
    ) -> Piece:
        by_fold = lambda a: np.broadcast_to(np.asarray(a, np.int32), (self._folds,)).copy()
        one = np.int32
        chunk = (by_fold(first), by_fold(steps))
        return Piece(one(stage), one(number), *chunk, one(batch), one(batches))
