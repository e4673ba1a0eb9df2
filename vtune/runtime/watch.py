"""What looks on between the segments of a run, on the host, and may end it."""

from __future__ import annotations

from typing import Any, NamedTuple

from vtune.engine.carry import EarlierRun
from vtune.engine.plan import Plan
from vtune.search.base import Cohort
from vtune.types import PyTree


class Standing(NamedTuple):
    """Where a run stands between two segments.

    Attributes:
      cohorts: ids and hyperparameters of the members at the start.
      carry: by cohort, on the device. The next segment is donated it: copy what is kept.
      first, done: rounds [first, done) were run since this watcher was last told.
      rounds: how many are to be run in all.
      past: what the earlier run of an extended sweep left.
      position: where a stream of batches stands.
    """

    plan: Plan
    cohorts: tuple[Cohort, ...]
    carry: PyTree
    first: int
    done: int
    rounds: int
    past: EarlierRun | None
    position: Any = None


class Watcher:
    """Is told of every segment; without any, nothing is paid. A base class that does nothing.

    Attributes:
      everywhere: whether it looks on in each of several processes; else in the first one alone.
    """

    everywhere = False

    def most_rounds(self, done: int) -> int | None:
        """How many rounds the next segment may have; None for as many as fit."""
        return None

    def segment(self, standing: Standing) -> str | None:
        """Is called after every segment.

        Returns:
          Why the run ends here, as a status says it ("interrupted"); None to go on.
        """
        return None

    def wants_states(self, standing: Standing) -> bool:
        """Whether it is to be given the members' states after this segment, the run going on or
        not. Asked in the first process, after `segment`."""
        return False

    def take_states(self, carry: PyTree, done: int) -> None:
        """Is given the carry after `done` rounds; the next segment is donated it, so what is kept
        must be copied. Of several processes the first one is given it on the host."""
