"""Progress on the error stream: a live bar in a terminal and a notebook, elsewhere a line now and
then."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from vtune.results.member import printable
from vtune.results.report import Best
from vtune.runtime.execute import Report
from vtune.runtime.notices import is_terminal, say
from vtune.types import PyTree

QUIET = 10.0  # seconds in which nothing is said outside a terminal, unless it is asked for
EVERY = 30.0  # seconds between two lines there
LONGEST = 80  # characters of a setting

# (the carry, rounds done) -> the member that leads, and how many still train
Look = Callable[[PyTree, int], tuple[Best | None, int]]


@contextlib.contextmanager
def reporter(
    show: bool | None,
    rounds: int,
    members: int,
    combinations: int,
    label: str,
    look: Look,
    part: str = "",
) -> Iterator[Report | None]:
    """Shows progress and yields the function that `execute` reports to. Nothing in it can fail.

    Args:
      show: False for nothing. True and None for a bar where the error stream is a terminal or a
        notebook, and lines elsewhere; with None only once the sweep has taken some seconds.
      rounds: how many there are to the end. members: how many there are.
      combinations: structural ones. label: the metric's name.
      look: reads a population; called only where what it returns is shown.
      part: which part of a longer run this is, in words.
    """
    if show is not None and not show:
        yield None
        return
    view: _View = _Lines(0.0 if show else QUIET, rounds)
    if is_terminal() or _is_notebook():
        with contextlib.suppress(Exception):  # rich is not there, or the terminal went away
            view = _Bar(rounds)
    seconds: defaultdict[str, float] = defaultdict(float)  # spent in each phase
    phase, since = "", time.perf_counter()
    who = f"{part}{members} members"
    structures = f" of {combinations} structural combinations" if combinations > 1 else ""

    def report(now_in: str, done: int, carry: PyTree) -> None:
        nonlocal phase, since
        now = time.perf_counter()
        seconds[phase] += now - since
        phase, since = now_in, now
        seen = functools.cache(lambda: _Seen(label, members, *look(carry, done)))
        with contextlib.suppress(Exception):
            if phase == "compile":
                view.compiling(f"{who}{structures}, {rounds - done} rounds")
            elif phase == "run":
                view.running(who, done, None if carry is None else seen, seconds["compile"])
            else:
                view.done(
                    done,
                    f"{who}, {done} rounds: compiled in {seconds['compile']:.1f} s, "
                    f"ran in {seconds['run']:.1f} s. {seen().best}",
                )

    try:
        yield report
    finally:
        with contextlib.suppress(Exception):
            view.close()


class _Seen:
    """What is shown of a population.

    Attributes:
      best: the leading member's metric; empty where there is none.
      setting: its hyperparameters, as much as fits. alive: how many members still train.
    """

    def __init__(self, label: str, members: int, best: Best | None, alive: int):
        self.best = "" if best is None else f"best {label} {best.score:.4g}"
        self.alive = f"{alive} of {members} alive"
        self.setting = ""
        if best is not None and best.hparams:
            shown = lambda v: f"{v:.4g}" if isinstance(v, float) else str(v)
            text = ", ".join(f"{name}={shown(printable(v))}" for name, v in best.hparams.items())
            self.setting = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _is_notebook() -> bool:
    """Returns whether a bar would be shown in a notebook: rich shows it with ipywidgets."""
    try:
        from rich.console import Console

        return Console().is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    except Exception:
        return False


class _View(Protocol):
    """Where progress is shown. `seen` looks at the population; None before the first round."""

    def compiling(self, what: str) -> None: ...
    def running(
        self, who: str, done: int, seen: Callable[[], _Seen] | None, compiled: float
    ) -> None: ...
    def done(self, done: int, summary: str) -> None: ...
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

    def compiling(self, what: str) -> None:
        del what  # the bar says so from the start

    def running(
        self, who: str, done: int, seen: Callable[[], _Seen] | None, compiled: float
    ) -> None:
        best = "" if seen is None else seen().best
        self._bar.update(self._task, completed=done, description=f"training {who}", best=best)

    def done(self, done: int, summary: str) -> None:
        self._bar.update(self._task, completed=done)  # a notebook keeps the bar
        self._bar.stop()
        self._console.print(summary, highlight=False)

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    """Plain lines: in a pipe or a log file."""

    def __init__(self, quiet: float, rounds: int):
        self._began, self._quiet, self._rounds = time.perf_counter(), quiet, rounds
        self._next = self._began + QUIET  # when the next line about rounds is due
        self._start: tuple[float, int] | None = None  # time and rounds when training began
        self._timer: Any = None
        self._spoken = self._compiled = False

    def compiling(self, what: str) -> None:
        self._wait(max(1.0, self._quiet), f"compiling, for {what}")

    def running(
        self, who: str, done: int, seen: Callable[[], _Seen] | None, compiled: float
    ) -> None:
        now = time.perf_counter()
        if self._start is None:
            self._start = now, done
            self.close()
            if self._spoken:
                self._say(f"compiled in {compiled:.1f} s, training {who}")
                self._next = now + EVERY
        if now < self._next or seen is None:
            return
        self._next = now + EVERY
        left = (now - self._start[0]) / (done - self._start[1]) * (self._rounds - done)
        looked = seen()
        best = f"{looked.best} ({looked.setting})" if looked.setting else looked.best
        parts = [f"round {done}/{self._rounds}", best, looked.alive, f"{_clock(left)} left"]
        self._say(", ".join(filter(None, parts)))

    def done(self, done: int, summary: str) -> None:
        if self._spoken or time.perf_counter() - self._began >= self._quiet:
            self._say(summary)

    def close(self) -> None:
        self._compiled = True
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, seconds: float, line: str) -> None:
        """Says a line when so many seconds are over, and from then on that it still takes."""
        self._timer = threading.Timer(seconds, self._still, [line])
        self._timer.daemon = True
        self._timer.start()

    def _still(self, line: str) -> None:
        if self._compiled:  # at this moment
            return
        self._say(line)
        so_far = time.perf_counter() - self._began + EVERY
        self._wait(EVERY, f"still compiling after {_clock(so_far)}")

    def _say(self, line: str) -> None:
        self._spoken = True
        say(f"vtune: {line}")


def _clock(seconds: float) -> str:
    """Returns seconds as minutes and seconds, or hours, minutes and seconds: 1:40, 2:00:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
