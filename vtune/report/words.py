"""Numbers and values of a sweep in a few letters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vtune.results.member import printable
from vtune.space.distributions import Categorical, Float, Int, Ordinal

LONGEST = 300  # characters of a value


def shown(value: Any) -> str:
    """Returns a value as the page shows it: five digits of a number, nothing where there is none,
    the name of a function, and of a long text its beginning."""
    value = printable(value)
    if isinstance(value, np.generic | np.ndarray) and not np.ndim(value):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def shared(some: int, all: int) -> str:
    """Returns "3 of the 5", or "all 5"."""
    return f"all {all}" if some == all else f"{some} of the {all}"


def rough(value: float) -> str:
    """Returns a number in two digits."""
    return f"{float(f'{value:.2g}'):g}"


def listed(words: list[str]) -> str:
    """Returns "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def range_text(declared: Any) -> str:
    """Returns what a hyperparameter was searched in."""
    if isinstance(declared, Float | Int):
        said = f"{shown(declared.low)} to {shown(declared.high)}"
        if declared.step not in (None, 1):
            said += f" in steps of {shown(declared.step)}"
        said += ", whole numbers" if isinstance(declared, Int) else ""
        return said + (", on a logarithmic scale" if declared.log else "")
    if isinstance(declared, Categorical | Ordinal):
        values = declared.choices if isinstance(declared, Categorical) else declared.values
        return shown("one of " + ", ".join(map(shown, values)))
    return f"fixed at {shown(declared)}"
