"""Several processes under `jax.distributed`: they meet, tell each other, and end together.

All of them run the same script, and call these functions in the same order. Values go over the
devices' links, and only after a barrier of the coordination service, which has a time-out and
names who is missing. Where there is one process, nothing is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from vtune import target

TIMEOUT = "VTUNE_PROCESS_TIMEOUT"  # the variable with the seconds that processes wait
PATIENCE = 300.0  # seconds, where it is not set
LONG = 1e6  # seconds, where the first process works alone; that it died is known without them
SMALL = 1024  # bytes that are told at once
LARGE = 1 << 20  # and of many

GO_ON = (
    "Start all again, or as many as are left; with checkpoint= the sweep goes on from its last "
    "checkpoint"
)

_meetings: Counter[str] = Counter()  # by what is done there: who meets alone spoils no other
_in_callback: ContextVar[bool] = ContextVar("in_callback", default=False)


class MissingProcessError(RuntimeError):
    """A process did not come to where all must be."""


class Turn(NamedTuple):
    """What is decided between two segments of a run.

    Attributes:
      asked: why the run ends, as a status says it; None to go on.
      stop: where the next segment ends.
      keep: whether somebody is handed the members' states first.
    """

    asked: str | None
    stop: int
    keep: bool


def several() -> bool:
    """Whether this is one of several processes that train together."""
    return target.processes() > 1 and jax.distributed.is_initialized()


def patience() -> float:
    """Returns the seconds that a process waits for the others.

    Raises:
      ValueError: the variable of the environment is no such number.
    """
    said = os.environ.get(TIMEOUT, str(PATIENCE))
    with contextlib.suppress(ValueError):
        if 0 < float(said) < 1e6:
            return float(said)
    raise ValueError(f"{TIMEOUT}={said!r} must be a number of seconds, above 0")


@contextlib.contextmanager
def in_callback() -> Iterator[None]:
    """What is called inside is called in the first process alone, so it cannot meet the others."""
    token = _in_callback.set(True)
    try:
        yield
    finally:
        _in_callback.reset(token)


def meet(what: str, long: bool = False) -> None:
    """Waits until all processes are here.

    Args:
      what: they do here, for messages.
      long: whether one of them works while the others wait, for as long as it lives.

    Raises:
      MissingProcessError: some did not come in time.
      RuntimeError: a callback asked.
    """
    if not several():
        return
    if _in_callback.get():
        raise RuntimeError(
            f"{what}: not in a callback. All processes must do this together, and process 0 alone "
            "calls callbacks; do it with the sweep that is returned, in all of them"
        )
    from orbax.checkpoint import multihost  # slow to import; the public barrier with a time-out

    seconds = max(patience(), LONG if long else 0.0)
    while True:
        key = f"vtune {_meetings[what]}: {what}"
        _meetings[what] += 1
        try:
            multihost.get_barrier_sync_fn()(key=key, timeout_ms=round(seconds * 1000))
            return
        except Exception as error:
            if str(jax.process_index()) not in _named(str(error)):
                raise MissingProcessError(_missing(what, seconds, str(error))) from error
            # The others were here, and gave up: they count it, and so does this one.


def _named(said: str) -> list[str]:
    """Returns the numbers of the processes that a barrier waited for in vain."""
    names = re.search(r"timed out task names:\s*((?:\d+\s+)+)", said)
    return [] if names is None or "DEADLINE_EXCEEDED" not in said else names.group(1).split()


def _missing(what: str, seconds: float, said: str) -> str:
    dead = re.search(r"Task (\d+) heartbeat timeout", said)
    if dead is not None:
        return f"{what}: process {dead.group(1)} has died. {GO_ON}"
    numbers = _named(said)
    if not numbers:
        first = said.strip().splitlines()[0] if said.strip() else "no reason was given"
        return f"{what}: the processes could not meet ({first})"
    who = f"process {numbers[0]}" if len(numbers) == 1 else f"processes {', '.join(numbers)}"
    return (
        f"{what}: {who} did not come here within {seconds:g} s. All processes must run the same "
        "script and make the same calls: see whether it has ended, waits for something, or does "
        f"this only where jax.process_index() is 0; {TIMEOUT}=<seconds> lets the others wait longer"
    )


def told_by_all(what: str, value: Any, long: bool = False) -> list[Any]:
    """Returns the value of every process, in their order. All must call this.

    Args:
      what: they do here, for messages. value: as JSON has it. long: see `meet`.

    Raises:
      MissingProcessError: some did not come in time.
    """
    if not several():
        return [value]
    said = json.dumps(value).encode()
    whole = len(said).to_bytes(8, "little") + said
    meet(what, long)
    rows = _gathered(whole, 0, SMALL)
    sizes = [int.from_bytes(row[:8].tobytes(), "little") for row in rows]
    for first in range(SMALL, 8 + max(sizes), SMALL):  # of one shape: it is a program
        rows = np.concatenate([rows, _gathered(whole, first, SMALL)], axis=1)
    return [json.loads(row[8 : 8 + n].tobytes()) for row, n in zip(rows, sizes, strict=True)]


def told_bytes(own: np.ndarray, sizes: Sequence[int], keep: bool = True) -> list[np.ndarray]:
    """Returns the bytes of every process, in their order. All must call this, and have met.

    Args:
      own: this one's. sizes: of every process's, which all know. keep: whether this one wants them;
        else it gets none.
    """
    most = max(sizes)
    part = SMALL if most <= 16 * SMALL else LARGE
    told = [np.empty(size if keep else 0, np.uint8) for size in sizes]
    for first in range(0, most, part):
        rows = _gathered(own.data, first, part)
        for row, said in zip(rows, told, strict=True):
            said[first : first + part] = row[: max(0, len(said) - first)]
    return told


def _gathered(whole: bytes | memoryview, first: int, size: int) -> np.ndarray:
    """Returns the next bytes from `first` on of every process, [processes, size]."""
    part = bytes(whole[first : first + size]).ljust(size, b"\0")
    return np.asarray(multihost_utils.process_allgather(np.frombuffer(part, np.uint8)))


@contextlib.contextmanager
def together(what: str, long: bool = False) -> Iterator[None]:
    """What is done inside fails on all processes where it fails on one; all must do it.

    They must not meet inside: where one fails before, the others would wait for it there.

    Args:
      long: see `meet`.

    Raises:
      RuntimeError: on those where it did not fail; it says on which it did, and how.
      KeyboardInterrupt: on all where one was interrupted.
    """
    if not several():
        yield
        return
    failure: BaseException | None = None
    try:
        yield
    except MissingProcessError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        failure = error
    _ended_together(what, failure, None, long)


def agreed(decide: Callable[[], Turn]) -> Turn:
    """Returns what all processes do next: they end where one is to end, and the first one decides
    the rest.

    Raises:
      RuntimeError: another process failed to decide.
    """
    if not several():
        return decide()
    what, failure, turn = "between two rounds", None, Turn(None, 0, False)
    try:
        turn = decide()
    except Exception as error:
        failure = error
    turns = [Turn(*told) for told in _ended_together(what, failure, turn, long=True)]
    asked = [one.asked for one in turns if one.asked is not None]
    return turns[0]._replace(asked=asked[0] if asked else None)


def first_does(what: str, function: Callable[[], Any]) -> Any:
    """Returns on all processes what a function, called in the first one, returned, as JSON has it.

    Raises:
      RuntimeError: it failed; in the first process its own error.
    """
    if not several():
        return function()
    failure, result = None, None
    try:
        result = function() if target.is_first_process() else None
    except Exception as error:
        failure = error
    return _ended_together(what, failure, result, long=True)[0]


def _said_of(failure: BaseException | None) -> Any:
    """An error as JSON: whether it is an interrupt, and what it says."""
    if failure is None:
        return None
    return [isinstance(failure, KeyboardInterrupt), f"{type(failure).__name__}: {failure}"]


def _ended_together(what: str, failure: BaseException | None, value: Any, long: bool) -> list[Any]:
    """Returns the value of every process; raises this one's own failure, else that of another."""
    try:
        told = told_by_all(what, [_said_of(failure), value], long)
    except Exception as missing:
        if failure is not None:  # what went wrong first, and why the others may be gone
            raise failure from missing
        raise
    if failure is not None:
        raise failure
    for number, (failed, _) in enumerate(told):
        if failed is not None and failed[0]:
            raise KeyboardInterrupt
        if failed is not None:
            raise RuntimeError(f"{what}: process {number} failed, so all end here. {failed[1]}")
    return [value for _, value in told]


@contextlib.contextmanager
def warning_once() -> Iterator[None]:
    """Of several processes the first one alone warns of what is found inside."""
    if target.is_first_process():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Says what a failure of the program means where several processes run it.

    Raises:
      RuntimeError: it failed.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not several():
            raise
        first = str(error).strip().splitlines()[0]
        raise RuntimeError(
            f"the program failed on process {jax.process_index()}: {first}. If it names a "
            f"connection, another process has died. {GO_ON}"
        ) from error
