"""A limit of wall time: the run ends between two segments, in time as far as can be foreseen."""

from __future__ import annotations

import math
import time
from typing import Any

from vtune.engine.plan import Plan
from vtune.runtime.notices import warn
from vtune.runtime.watch import Standing, Watcher
from vtune.validation import is_number

ENDED = "timeout"  # the status of what the limit ended


class TimeLimit(Watcher):
    """Ends a run where the next round, by the last one's pace, would end after the limit.

    One round is always run, and none is cut. A round's time is taken to be proportional to the
    members that are left in it.

    Args:
      seconds: from now on.
      caller: the function that messages name.

    Raises:
      TypeError, ValueError: this is no number of seconds.
    """

    def __init__(self, seconds: Any, caller: str):
        if not is_number(seconds):
            raise TypeError(f"{caller}: timeout={seconds!r} must be a number of seconds, above 0")
        if not seconds > 0:  # NaN is not, either
            raise ValueError(f"{caller}: timeout={seconds!r} must be above 0, in seconds")
        self.seconds = float(seconds)
        self._end = time.monotonic() + self.seconds
        self._since: float | None = None  # when the running segment began
        self._pace = math.inf  # seconds of one member in one round
        self._sizes: list[int] = []  # members by round

    def fits(self, seconds: float) -> bool:
        """Whether another whole run, after so many seconds of getting ready, would end in time."""
        run = self._pace * sum(self._sizes) if self._sizes else 0.0
        return time.monotonic() + seconds + run <= self._end

    def wait(self) -> None:
        """Between two runs: the time until the next one begins is no round's."""
        self._since = None

    def most_rounds(self, done: int) -> int | None:
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        left, fits = self._end - now, 0
        for size in self._sizes[done:]:
            left -= self._pace * size
            if left < 0:
                break
            fits += 1
        return max(1, fits)

    def segment(self, standing: Standing) -> str | None:
        now, first = time.monotonic(), not self._sizes
        self._sizes = members_by_round(standing.plan)[: standing.rounds]
        assert self._since is not None
        self._pace = (now - self._since) / sum(self._sizes[standing.first : standing.done])
        self._since = now
        if standing.done == standing.rounds:
            return None
        if first and any(cohort.shrinks for cohort in standing.plan.cohorts):
            self._foretell(standing, self._end - now)
        late = now + self._pace * self._sizes[standing.done] > self._end
        return ENDED if late else None

    def _foretell(self, standing: Standing, left: float) -> None:
        """Says at once what will not fit, where members are to be dropped on the way."""
        needed = self._pace * sum(self._sizes[standing.done :])
        if needed <= left:
            return
        members, spent = self._sizes[0], self._pace * sum(self._sizes[: standing.done])
        fit = max(1, int(members * max(0.0, left + spent) / (needed + spent)))
        warn(
            f"timeout={self.seconds:g}: the {standing.rounds - standing.done} rounds that are left "
            f"need about {_seconds(needed)}, and {_seconds(max(0.0, left))} are left; members will "
            f"not be dropped as planned. About {fit} of the {members} members would fit"
        )

    def say(self, plan: Plan, rounds: int, compile_seconds: float, then: str) -> None:
        """Warns that the limit ended a run.

        Args:
          rounds: that were run. compile_seconds: of the time. then: how to go on.
        """
        compiled = ""
        if compile_seconds >= 0.1:
            compiled = (
                f"; compiling took {_seconds(compile_seconds)} of the time, which the same call "
                "does not need again"
            )
        rung = _rung(plan, rounds)
        warn(
            f"timeout={self.seconds:g}: {rounds} of {plan.rounds} rounds were run{rung}{compiled}"
            f"{then}"
        )


def _seconds(number: float) -> str:
    return f"{number:.0f} s" if number >= 10 else f"{number:.2g} s"


def members_by_round(plan: Plan) -> list[int]:
    """Returns how many members train in each round."""
    rungs = [cohort.rungs for cohort in plan.cohorts]
    sizes = [[rung.size for rung in by_cohort for _ in range(rung.rounds)] for by_cohort in rungs]
    return [sum(by_round) for by_round in zip(*sizes, strict=True)]


def _rung(plan: Plan, rounds: int) -> str:
    """Says which rung was reached, where members are dropped."""
    if not any(cohort.shrinks for cohort in plan.cohorts):
        return ""
    sizes = members_by_round(plan)
    return f", with {sizes[rounds - 1]} of {sizes[0]} members left in the last one"
