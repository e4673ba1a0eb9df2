"""What commands write: text that a terminal can show, and JSON that others can read."""

from __future__ import annotations

import json
import math
from typing import Any

from vtune.visible import visible as shown

FINE, DAMAGED, UNUSABLE = 0, 1, 2  # exit codes


class DamagedSweepError(ValueError):
    """A folder holds a sweep that cannot be read."""


def said_of(error: Any) -> str:
    """Returns what an error says; of the system's own without its number."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


def one_line(text: str) -> str:
    """Returns an error's text as one line."""
    return shown(" ".join(text.split()))


def json_text(value: Any, indent: int | None = 1) -> str:
    """Returns a value as JSON; NaN and infinities are null, which JSON has no other word for."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """Returns NumPy's numbers as Python's, what is not finite as None, and what JSON cannot hold
    as text."""
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # an array or a number of NumPy's
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def size_text(size: int) -> str:
    """Returns bytes in a few letters, such as "1.2 MB"."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
