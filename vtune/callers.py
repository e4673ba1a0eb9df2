"""Finds the user's own line, which a warning should show."""

from __future__ import annotations

import os
import sys
from types import FrameType

PACKAGE = os.path.dirname(__file__) + os.sep


def users_line() -> int:
    """Returns the stacklevel, for the function that warns, of the line that called vtune.

    JAX may stand between: it traces learners, whose functions warn as well.
    """
    frame: FrameType | None = sys._getframe(1)
    level, outermost = 1, 0
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            outermost = level
        level, frame = level + 1, frame.f_back
    return outermost + 1
