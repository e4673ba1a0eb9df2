"""Ctrl-C and SIGTERM: noted at once, answered where nothing is lost."""

from __future__ import annotations

import signal
import threading
from typing import Any

from vtune.runtime.notices import say


class Interrupt:
    """Notes the first Ctrl-C instead of raising, and says when it will be answered.

    Raised in the middle of a call, it would lose the donated carry; in the middle of a compilation
    it brings some versions of XLA down. A second Ctrl-C interrupts as usual.

    Attributes:
      asked: whether Ctrl-C was pressed.
      stops: when it will be answered, such as "after this round".
      number: the signal that is noted.
    """

    def __init__(self, stops: str, number: int = signal.SIGINT):
        self.asked = False
        self.stops = stops
        self.number = number
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(self.number)
            if before not in (None, signal.SIG_IGN):  # not ours to handle; a background job
                self._before = before
                signal.signal(self.number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._before is not None:
            signal.signal(self.number, self._before)

    def _note(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(self.number, self._before)
        again = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        say(f"vtune: stops {self.stops}; {again} again to stop at once")
