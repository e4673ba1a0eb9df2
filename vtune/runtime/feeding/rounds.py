"""Calls the program of data on the host, piece by piece, with rows that were read meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import jax
import numpy as np

from vtune.data.own import aligned_empty
from vtune.engine.carry import Arguments
from vtune.engine.lanes import Lane, Stage, lanes, stage_number
from vtune.engine.layout import sharding
from vtune.engine.pieces import Piece
from vtune.engine.plan import Plan
from vtune.rng.keys import from_words, is_key
from vtune.runtime import processes
from vtune.runtime.compile import Program
from vtune.runtime.debug_nans import call_checked
from vtune.runtime.feeding.reader import Reader
from vtune.runtime.feeding.schedule import Errand, Rows, Schedule
from vtune.runtime.placement import placed, placed_arguments
from vtune.types import PyTree


class FedRounds:
    """The rounds of one run of a plan whose data lie on the host.

    Args:
      built: the plan's program. data: the source. arguments: with a window in the data's place.
      first, stop: the rounds [first, stop) to come.
      position: where the source stood; None for its beginning.

    Attributes:
      position: where the source stands after the rounds that were run, as JSON; None where rows
        follow from their step.
      kept: the carry after the last whole round on the host, of one process; None before it, and
        after the last round of all.
    """

    rounds = 1

    def __init__(
        self,
        plan: Plan,
        built: Program,
        data: Any,
        arguments: Arguments,
        first: int,
        stop: int,
        position: Any = None,
    ):
        assert built.fed is not None
        self._plan, self._call, self._lanes = plan, built.call, lanes(plan)
        self._stop = stop
        self._bare = placed_arguments(arguments._replace(data=None), plan.layout)
        self._shapes: Any = arguments.data
        seed = int(arguments.seed)
        self._schedule = Schedule(plan, data, seed, self._lanes, built.fed.readings)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), built.fed.under_way)
        self._under_way = placed(zeros, built.fed.shardings)
        self._over: set[int] = set()  # lanes whose members have all stopped
        if position is not None:
            data.go_to(position)
        self.position: Any = position
        self.kept: PyTree = None
        self._window: Any = None  # the last one that was sent
        errands, several = self._errands(first, stop), processes.several()
        self._reader = Reader(errands, self._send, data.position, goes_on=several)

    def __enter__(self) -> FedRounds:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)
        self._window = self._under_way = self.kept = None  # what lives on must not hold them

    def run(self, carry: PyTree, seen: PyTree, first: int, stop: int) -> PyTree:
        """Returns the carry after rounds [first, stop), see `Segments`.

        Raises:
          SourceError: rows could not be read; `kept` is what there was before the round.
          RuntimeError: another process could not read them.
        """
        for number in range(first, stop):
            seen = carry = self._round(carry, seen, number)
            # Where one cannot read, it runs the round all the same: the others wait for it there.
            with processes.together("reading the rows of a round", long=True):
                if self._reader.failed is not None:
                    raise self._reader.failed
        if stop < self._stop and not processes.several():
            self.kept = None  # before another one is made
            self.kept = jax.tree.map(_host_copy, carry)
        return carry

    def _round(self, carry: PyTree, seen: PyTree, number: int) -> PyTree:
        live = self._live(seen, number)
        if not live:
            return carry
        last = stage_number(live[-1], Stage.END)
        carried, position = (carry, self._under_way), self.position
        running = None
        while (found := self._reader.next()) is not None:
            errand, read = found
            if errand.lane in self._over:
                continue
            if read is not None:
                self._window = read.window
                position = read.position if errand.trains else position
            ends = int(errand.piece.stage) == last
            carried, token = self._called(carried, errand.piece, wait=ends)
            if read is not None:
                if running is not None:
                    jax.block_until_ready(running)  # its window is free then
                running = token
            if ends:
                break
            self._reader.read_ahead()
        carry, self._under_way = carried
        self.position = position
        return carry

    def _errands(self, first: int, stop: int) -> Iterator[Errand]:
        plan = self._plan
        if first == plan.past and (plan.past == 0 or plan.anew):
            yield self._schedule.start(first)
        for number in range(first, stop):
            for errand in self._schedule.round(number):
                if errand.lane not in self._over:
                    yield errand

    def _live(self, seen: PyTree, number: int) -> list[int]:
        """Returns the lanes of a round in which a member still trains, and notes the others."""
        live = []
        for index, lane in enumerate(self._lanes):
            if lane.first <= number < lane.stop:
                if self._plan.stopping is None or number == 0 or _anyone(lane, seen):
                    live.append(index)
                else:
                    self._over.add(index)
        return live

    def _called(self, carried: PyTree, piece: Piece, wait: bool) -> Any:
        place = sharding(self._plan.layout, None)
        placed_piece = placed(piece, jax.tree.map(lambda _: place, piece))
        if self._window is None:  # a piece without rows is the first one where a run goes on
            self._window = self._send(_no_rows(self._shapes))
        arguments = self._bare._replace(data=self._window)
        return call_checked(self._call, carried, placed_piece, arguments, wait=wait)

    def _send(self, rows: Rows) -> Any:
        """Puts rows on the devices, as a window that they are the first of."""
        shapes, axis = self._shapes.arrays, 1 if self._shapes.folded else 0
        filled = {name: _filled(array, shapes[name], axis) for name, array in rows.items()}
        window = self._shapes.filled(filled)
        return placed_arguments(window, self._plan.layout)


def _no_rows(shapes: Any) -> Rows:
    axis = 1 if shapes.folded else 0
    empty = lambda leaf: np.zeros((*leaf.shape[:axis], 0, *leaf.shape[axis + 1 :]), leaf.dtype)
    return {name: empty(leaf) for name, leaf in shapes.arrays.items()}


def _anyone(lane: Lane, carry: PyTree) -> bool:
    """Whether a member of a lane still trains."""
    stopped = [
        np.asarray(carry[index].population.stopped)[: lane.size]
        for group in lane.groups
        for index in group.indices
    ]
    return any((of_cohort < 0).any() for of_cohort in stopped)


def _filled(array: np.ndarray, shape: Any, axis: int) -> np.ndarray:
    """Returns rows filled up with zeros to those of a window. Sources have checked their types and
    shapes."""
    assert array.dtype == shape.dtype
    missing = shape.shape[axis] - array.shape[axis]
    if not missing:
        return array
    window, rows = aligned_empty(shape.shape, np.dtype(shape.dtype)), array.shape[axis]
    before = (slice(None),) * axis
    window[(*before, slice(rows))] = array
    window[(*before, slice(rows, None))] = 0
    return window


def _host_copy(leaf: Any) -> Any:
    """Returns an array's numbers in memory of their own: the array is donated to the next call."""
    words = jax.random.key_data(leaf) if is_key(leaf) else leaf
    host = np.asarray(words)
    if words.is_fully_replicated:  # else it was put together of parts
        host = host.copy()
    return from_words(host, leaf) if is_key(leaf) else host
