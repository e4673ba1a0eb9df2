"""What is said to a user: log lines, warnings, lines on the error stream; of several processes by
the first one alone.

None of it can fail. A closed error stream, a full disk or `python -W error` must not cost a sweep.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from typing import Any

from vtune.callers import users_line
from vtune.target import is_first_process

LOG = logging.getLogger("vtune")


def log(level: int, message: str, *values: Any) -> None:
    """Logs a line, where that is possible."""
    if not is_first_process():
        return
    with contextlib.suppress(Exception):
        LOG.log(level, message, *values)


def say(line: str) -> None:
    """Writes a line to the error stream, where that is possible."""
    if sys.stderr is not None and is_first_process():
        with contextlib.suppress(Exception):
            print(line, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Warns; where warnings are errors it is logged instead, since there is something to lose."""
    if not is_first_process():
        return
    try:
        warnings.warn(message, stacklevel=users_line())
    except Exception:
        log(logging.WARNING, "vtune: %s", message)


def is_terminal() -> bool:
    """Returns whether the error stream is a terminal."""
    try:
        return bool(sys.stderr.isatty())
    except Exception:  # None, closed, or a stream of somebody's own
        return False
