"""What Orbax says of writes that fail is left out: the failure itself is raised."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Leaves out what Orbax logs, such as the traceback of every write that fails, or that a tree
    is read as it was written."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextlib.contextmanager
def without_late_failures() -> Iterator[None]:
    """Leaves out what its threads print where one write of many failed: the others answer an event
    loop that is closed by then."""
    hook = sys.unraisablehook

    def but_for_late_ones(raised: Any) -> None:
        late = type(raised.exc_value) is RuntimeError and raised.object is None
        if not (late and str(raised.exc_value) == "Event loop is closed"):
            hook(raised)

    sys.unraisablehook = but_for_late_ones
    try:
        yield
    finally:
        sys.unraisablehook = hook
