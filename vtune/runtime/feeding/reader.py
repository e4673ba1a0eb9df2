"""Reads the rows of the next piece, and sends them, while the current one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple

from vtune.data.window import Window
from vtune.runtime.feeding.schedule import Errand, Rows
from vtune.runtime.feeding.worker import Worker


class SourceError(RuntimeError):
    """Rows of data on the host could not be read.

    Args:
      trained: how much the sweep is of what was asked for, in words.

    Attributes:
      reason: which rows, and why.
      sweep: what the rounds before made; None where there is none.
    """

    def __init__(self, reason: str, sweep: Any = None, trained: str = ""):
        before = f". What was trained before is error.sweep, {trained}" if trained else ""
        super().__init__(f"{reason}{before}")
        self.reason, self.sweep = reason, sweep


class Sent(NamedTuple):
    """Rows on the device, and where their source stood after them."""

    window: Window
    position: Any


class Reader:
    """Yields errands with their rows; at most one is read ahead.

    Args:
      errands: in their order.
      send: puts rows on the devices.
      position: returns where the source stands.
      goes_on: whether errands go on, without rows, where some could not be read.

    Attributes:
      failed: why rows could not be read, where they go on.
    """

    def __init__(
        self,
        errands: Iterator[Errand],
        send: Callable[[Rows], Window],
        position: Callable[[], Any],
        goes_on: bool = False,
    ):
        self._errands, self._send, self._position = errands, send, position
        self._goes_on = goes_on
        self.failed: SourceError | None = None
        self._ahead: list[tuple[Errand, Future[Sent] | None]] = []
        self._thread = Worker("vtune-reader")

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, reading in self._ahead:
            if reading is not None:
                reading.cancel()
        self._ahead.clear()
        # A source that hangs must not hold up who presses Ctrl-C again.
        self._thread.close(wait=kind is None or issubclass(kind, Exception))

    def next(self) -> tuple[Errand, Sent | None] | None:
        """Returns the next errand, with what was read for it; None where there is none.

        Raises:
          SourceError: it could not be read.
        """
        self.read_ahead()
        if not self._ahead:
            return None
        errand, reading = self._ahead.pop(0)
        try:
            return errand, None if reading is None else reading.result()
        except SourceError as error:
            if not self._goes_on:
                raise
            self.failed = error
            return errand, None

    def read_ahead(self) -> None:
        """Begins to read for the next errand that needs rows, unless that has begun."""
        while not any(reading is not None for _, reading in self._ahead):
            errand = next(self._errands, None)
            if errand is None:
                return
            reads = errand.read is not None and self.failed is None
            self._ahead.append((errand, self._thread.submit(self._read, errand) if reads else None))
            if self.failed is not None:
                return

    def _read(self, errand: Errand) -> Sent:
        assert errand.read is not None
        try:
            rows = errand.read()
        except Exception as error:
            of = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
            raise SourceError(
                f"{errand.what}{of} could not be read: {type(error).__name__}: {error}"
            ) from error
        return Sent(self._send(rows), self._position())
