"""Calls the program of data on the device: some rounds at a time."""

from __future__ import annotations

import time
from typing import Any, Protocol

from vtune.engine.carry import Arguments
from vtune.engine.plan import Plan
from vtune.runtime.compile import Program
from vtune.runtime.debug_nans import call_checked
from vtune.runtime.placement import placed_number
from vtune.types import PyTree

SEGMENT_SECONDS = 0.5  # how often progress is shown and Ctrl-C answered


class Segments(Protocol):
    """Runs the rounds of a plan, segment by segment.

    Attributes:
      rounds: how many the next segment should have.
      kept: the carry after the last segment on the host, where it may be needed; None elsewhere.
      position: where a stream of batches stands; None where there is none.
    """

    @property
    def rounds(self) -> int: ...
    @property
    def kept(self) -> PyTree: ...
    @property
    def position(self) -> Any: ...

    def run(self, carry: PyTree, seen: PyTree, first: int, stop: int) -> PyTree:
        """Returns the carry after rounds [first, stop); the carry that is given is donated.

        Args:
          seen: the carry with all but states on this host.
        """


class WholeSegments:
    """Runs rounds in one call of the program, about half a second of them."""

    kept: PyTree = None
    position: Any = None

    def __init__(self, plan: Plan, built: Program, arguments: Arguments):
        self._plan, self._call, self._arguments = plan, built.call, arguments
        self.rounds = 1

    def run(self, carry: PyTree, seen: PyTree, first: int, stop: int) -> PyTree:
        """Returns the carry after rounds [first, stop), see `Segments`."""
        start = time.perf_counter()
        bounds = (placed_number(number, self._plan.layout) for number in (first, stop))
        carry = call_checked(self._call, carry, *bounds, self._arguments)
        seconds = time.perf_counter() - start
        self.rounds = max(1, round((stop - first) * SEGMENT_SECONDS / max(seconds, 1e-6)))
        return carry
