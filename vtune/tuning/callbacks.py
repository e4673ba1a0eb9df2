"""What looks on while a sweep runs: the `callbacks=` of `vt.tune` and `vt.extend`.

A callback is a function of a `Report`, or an object with any of these methods:

    begin(run)       before anything is compiled; what it raises is raised by `vt.tune`
    rounds(report)   between segments, on the host; every round is in one report
    end(sweep)       when the sweep is there, also where it was ended early

`rounds` may return `vt.STOP`. A callback that raises is dropped with a warning. An attribute
`strict = True` ends the sweep there instead; `most_rounds = 1` has every round reported by itself.
"""

from __future__ import annotations

import enum
import inspect
import time
from typing import Any

from vtune.results.report import Report, Reports, Run
from vtune.results.sweep import Sweep
from vtune.runtime.notices import warn
from vtune.runtime.processes import in_callback
from vtune.runtime.watch import Standing, Watcher
from vtune.search.base import Cohort
from vtune.space.space import Space
from vtune.validation import check_call, check_count

STOPPED = "stopped"  # the status of what a callback ended
METHODS = {"begin": "run", "rounds": "report", "end": "sweep"}  # with what each is called with


class _Answer(enum.Enum):
    """What a callback may return."""

    STOP = "ends the sweep after the rounds that were reported"

    def __repr__(self) -> str:
        return f"vt.{self.name}"

    __str__ = __repr__


STOP = _Answer.STOP


class Callbacks(Watcher):
    """Tells the callbacks of a sweep of every segment, in the order in which they were given."""

    def __init__(self, callbacks: tuple[Any, ...], space: Space, cohorts: tuple[Cohort, ...]):
        self._callbacks = list(callbacks)
        self._told_of_stop = False
        self._reports = Reports(space, cohorts)
        self._began = 0.0

    @in_callback()
    def begin(self, run: Run) -> None:
        """Before anything is compiled; there is nothing to lose."""
        for callback in self._callbacks:
            if hasattr(callback, "begin"):
                callback.begin(run)

    def most_rounds(self, done: int) -> int | None:
        self._began = time.perf_counter()
        most = [getattr(callback, "most_rounds", None) for callback in self._callbacks]
        return min((number for number in most if number is not None), default=None)

    @in_callback()
    def segment(self, standing: Standing) -> str | None:
        listening = [c for c in self._callbacks if hasattr(c, "rounds") or _is_function(c)]
        if not listening:
            return None
        report = self._report(standing, time.perf_counter() - self._began)
        answers = [self._answer(callback, report) for callback in listening]
        return STOPPED if STOP in answers else None

    def _report(self, standing: Standing, seconds: float) -> Report:
        return self._reports.report(standing, seconds)

    def _answer(self, callback: Any, report: Report) -> Any:
        """Returns what a callback answers. One that raises is dropped; see `strict` above."""
        try:
            answer = getattr(callback, "rounds", callback)(report)
            stops = answer is True or (isinstance(answer, str) and answer.casefold() == "stop")
            if stops and not self._told_of_stop:
                self._told_of_stop = True
                warn(f"callback {_name(callback)} returned {answer!r}; return vt.STOP to end it")
            return answer if isinstance(answer, _Answer) else None
        except Exception as error:
            self._callbacks = [other for other in self._callbacks if other is not callback]
            strict = getattr(callback, "strict", False)
            outcome = "it is strict, so the sweep ends here" if strict else "it is called no more"
            failed = f"callback {_name(callback)} failed after round {report.round}"
            warn(f"{failed}; {outcome} ({_said(error)})")
            return STOP if strict else None

    @in_callback()
    def end(self, sweep: Sweep) -> None:
        """When the sweep is there."""
        for callback in self._callbacks:
            if hasattr(callback, "end"):
                try:
                    callback.end(sweep)
                except Exception as error:
                    warn(f"callback {_name(callback)} failed at the end ({_said(error)})")


def checked_callbacks(given: Any) -> tuple[Any, ...]:
    """Returns the callbacks that a user gave.

    Raises:
      TypeError: they are no list, or one of them cannot be called with what it would be given.
      ValueError: one is there twice, or its `most_rounds` is no number of rounds.
    """
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        what = f"callbacks={given!r} must be a list"
        raise TypeError(f"{what}; write callbacks=[vt.log.CSV(path), lambda report: ...]")
    for number, callback in enumerate(given):
        who = f"callbacks[{number}]"
        _check(who, callback)
        if any(callback is other for other in given[:number]):
            raise ValueError(f"{who} is {_name(callback)} once more; give each callback once")
    return tuple(given)


def _check(who: str, callback: Any) -> None:
    if isinstance(callback, type):
        name = callback.__name__
        raise TypeError(f"{who} is the class {name}; give one that is made: {name}(...)")
    methods = [name for name in METHODS if hasattr(callback, name)]
    if not methods and not _is_function(callback):
        raise TypeError(
            f"{who}={callback!r} is no callback; give a function of a report, or an object with "
            "any of the methods begin(run), rounds(report), end(sweep)"
        )
    for name in methods:
        _check_function(f"{who}.{name}", getattr(callback, name), METHODS[name])
    if not methods:
        _check_function(who, callback, METHODS["rounds"])
    strict = getattr(callback, "strict", False)
    if not isinstance(strict, bool):
        raise TypeError(f"{who}.strict={strict!r} must be True or False")
    most = getattr(callback, "most_rounds", None)
    if most is not None:
        check_count(f"{who}.most_rounds", most)


def _check_function(who: str, function: Any, takes: str) -> None:
    """Raises TypeError unless it can be called, and does something when it is."""
    if not callable(function):
        raise TypeError(f"{who}={function!r} must be a function of ({takes})")
    body = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    for later in (inspect.iscoroutinefunction, inspect.isgeneratorfunction):
        if later(body):
            kind = "async" if later is inspect.iscoroutinefunction else "a generator"
            raise TypeError(f"{who} is {kind}, and would never run; give an ordinary function")
    check_call(who, function, takes)


def _is_function(callback: Any) -> bool:
    """Whether the callback itself is called with reports."""
    return callable(callback) and not any(hasattr(callback, name) for name in METHODS)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _name(callback: Any) -> str:
    """What a warning calls a callback: a function's name, else that of its class."""
    return getattr(callback, "__qualname__", None) or type(callback).__name__
