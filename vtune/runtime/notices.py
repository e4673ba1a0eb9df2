"""What is said to a user: log lines, warnings, lines on the error stream.

None of it can fail. A closed error stream, a full disk or `python -W error` must not cost a sweep.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from typing import Any

LOG = logging.getLogger("vtune")
PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


def log(level: int, message: str, *values: Any) -> None:
    """Logs a line, where that is possible."""
    with contextlib.suppress(Exception):
        LOG.log(level, message, *values)


def say(line: str) -> None:
    """Writes a line to the error stream, where that is possible."""
    if sys.stderr is not None:
        with contextlib.suppress(Exception):
            print(line, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Warns; where warnings are errors it is logged instead, since there is something to lose."""
    try:
        warnings.warn(message, stacklevel=users_line())
    except Exception:
        log(logging.WARNING, "vtune: %s", message)


def users_line() -> int:
    """Returns the stacklevel, for the function that warns, of the line that called vtune."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


def is_terminal() -> bool:
    """Returns whether the error stream is a terminal."""
    try:
        return bool(sys.stderr.isatty())
    except Exception:  # None, closed, or a stream of somebody's own
        return False
