"""Progress on the error stream: a live bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol

from vtune.runtime.execute import Report
from vtune.runtime.notices import is_terminal, say
from vtune.validation import check_flag

QUIET = 10.0  # seconds in which nothing is said outside a terminal, unless it is asked for
EVERY = 30.0  # seconds between two lines there


@contextlib.contextmanager
def reporter(
    show: bool | None, rounds: int, members: int, label: str, sign: float
) -> Iterator[Report | None]:
    """Shows progress and yields the function that `execute` reports to. Nothing in it can fail.

    Args:
      show: False for nothing. True and None for a bar where the error stream is a terminal, and
        lines elsewhere; with None only once the sweep has taken some seconds.
      rounds: how many there are to the end. members: how many there are.
      label: the metric's name. sign: 1 where higher is better, else -1.

    Raises:
      TypeError: `show` is something else.
    """
    if show is not None:
        check_flag("tune", "progress", show)
    if show is not None and not show:
        yield None
        return
    best_text = lambda best: f"best {label} {sign * best:.4g}" if math.isfinite(best) else ""
    view: _View = _Lines(0.0 if show else QUIET, rounds)
    if is_terminal():
        with contextlib.suppress(Exception):  # rich is not there, or the terminal went away
            view = _Bar(rounds)
    seconds: defaultdict[str, float] = defaultdict(float)  # spent in each phase
    phase, since = "", time.perf_counter()

    def report(now_in: str, done: int, best: float) -> None:
        nonlocal phase, since
        now = time.perf_counter()
        seconds[phase] += now - since
        phase, since = now_in, now
        text = best_text(best)
        with contextlib.suppress(Exception):
            if phase == "compile":
                view.compiling(f"{members} members")
            elif phase == "run":
                view.running(f"{members} members", done, text, seconds["compile"])
            else:
                view.done(
                    f"{members} members, {done} rounds: compiled in {seconds['compile']:.1f} s, "
                    f"ran in {seconds['run']:.1f} s. {text}"
                )

    try:
        yield report
    finally:
        with contextlib.suppress(Exception):
            view.close()


class _View(Protocol):
    """Where progress is shown."""

    def compiling(self, who: str) -> None: ...
    def running(self, who: str, done: int, best: str, compiled: float) -> None: ...
    def done(self, summary: str) -> None: ...
    def close(self) -> None: ...


class _Bar:
    """A bar of rich's, gone at the end but for the summary."""

    def __init__(self, rounds: int):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} rounds"),
            TextColumn("{task.fields[best]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("compiling", total=rounds, best="")
        self._bar.start()

    def compiling(self, who: str) -> None:
        del who  # the bar says so from the start

    def running(self, who: str, done: int, best: str, compiled: float) -> None:
        self._bar.update(self._task, completed=done, description=f"training {who}", best=best)

    def done(self, summary: str) -> None:
        self._bar.stop()
        self._console.print(summary, highlight=False)

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    """Plain lines: in a pipe, a log file, a notebook."""

    def __init__(self, quiet: float, rounds: int):
        self._began, self._quiet, self._rounds = time.perf_counter(), quiet, rounds
        self._next = self._began + QUIET  # when the next line about rounds is due
        self._start: tuple[float, int] | None = None  # time and rounds when training began
        self._timer: Any = None
        self._spoken = False

    def compiling(self, who: str) -> None:
        self._timer = threading.Timer(max(1.0, self._quiet), self._say, [f"compiling, for {who}"])
        self._timer.daemon = True
        self._timer.start()

    def running(self, who: str, done: int, best: str, compiled: float) -> None:
        now = time.perf_counter()
        if self._start is None:
            self._start = now, done
            self._timer.cancel()
            if self._spoken:
                self._say(f"compiled in {compiled:.1f} s, training {who}")
                self._next = now + EVERY
        if now < self._next or done == self._start[1]:
            return
        self._next = now + EVERY
        left = (now - self._start[0]) / (done - self._start[1]) * (self._rounds - done)
        parts = [f"round {done}/{self._rounds}", best, f"{_clock(left)} left"]
        self._say(", ".join(filter(None, parts)))

    def done(self, summary: str) -> None:
        if self._spoken or time.perf_counter() - self._began >= self._quiet:
            self._say(summary)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _say(self, line: str) -> None:
        self._spoken = True
        say(f"vtune: {line}")


def _clock(seconds: float) -> str:
    """Returns seconds as minutes and seconds, or hours, minutes and seconds: 1:40, 2:00:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
