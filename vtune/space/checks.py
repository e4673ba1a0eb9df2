"""Checks of the numbers and lists that a distribution is made of."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from vtune.hparams import Static
from vtune.types import float_dtype
from vtune.validation import check_flag, is_number, is_whole


def duplicates(values: Sequence[Any]) -> list[Any]:
    """Returns the values that were there before; 1 and 1.0 are one value."""
    numbers: set[Any] = set()
    others: list[Static] = []
    twice = []
    for value in values:
        if is_number(value) or isinstance(value, str):  # of which there may be very many
            key = value if isinstance(value, str) else float(value) + 0.0  # -0.0 is 0.0
            key = key if key == key else "NaN"  # which equals nothing, not even itself
            known = key in numbers
            numbers.add(key)
        else:
            known = Static(value) in others
            others.append(Static(value))
        if known:
            twice.append(value)
    return twice


def listed(kind: str, values: Any, of: str) -> list[Any]:
    """Returns values in their order; a set has none, and a string is one value."""
    if isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray):
        return list(values)
    if isinstance(values, np.ndarray) and values.ndim:
        return list(values)
    several = isinstance(values, Iterable) and not isinstance(values, Mapping | Set | Sequence)
    if getattr(values, "ndim", None) == 0:
        several = False
    instead = f"; write vt.{kind}(list(...))" if several else ""
    raise TypeError(f"{kind}: {values!r} is not a list of {of}{instead}")


def check_step(kind: str, step: Any, log: bool) -> None:
    """Raises ValueError if a step is not above 0, or goes with `log`."""
    if step <= 0:
        least = "above 0" if kind == "Float" else "at least 1"
        raise ValueError(f"{kind}: step={step!r} must be {least}")
    if log:
        raise ValueError(f"{kind}: log=True and step= exclude each other; drop one")


def check_several(kind: str, count: int | None, low: Any, high: Any, step: Any) -> None:
    """Raises ValueError if a step leaves one value of a range."""
    if count == 1 and low < high:
        raise ValueError(
            f"{kind}: step={step!r} is larger than the range, so low={low!r} would be the only "
            "value; give a smaller step"
        )


def is_finite(value: Any) -> bool:
    """Whether a number is finite."""
    return is_whole(value) or math.isfinite(value)  # of a large integer it is an OverflowError


def check_number(kind: str, name: str, value: Any) -> None:
    """Raises TypeError or ValueError unless a value is a finite number."""
    if not is_number(value):
        raise TypeError(f"{kind}: {name}={value!r} is not a number")
    if not is_finite(value):
        raise ValueError(f"{kind}: {name}={value!r} must be finite")


def check_range(kind: str, low: Any, high: Any, log: Any) -> None:
    """Raises TypeError or ValueError unless [low, high] is a range of finite numbers."""
    check_flag(f"{kind}: log", log)
    check_number(kind, "low", low)
    check_number(kind, "high", high)
    if low > high:
        raise ValueError(f"{kind}: low={low!r} is above high={high!r}; swap them")
    if log and low <= 0:
        raise ValueError(f"{kind}: log=True needs low > 0, got low={low!r}")
    if kind == "Float":
        check_fits(kind, low)
        check_fits(kind, high)
        dtype = float_dtype().type
        if low < high and dtype(low) == dtype(high):
            raise ValueError(
                f"Float: low={low!r} and high={high!r} are one number in {float_dtype()}; give it "
                "alone, or set jax_enable_x64"
            )
        tiny = np.finfo(float_dtype()).tiny
        if log and low < tiny:  # its logarithm would be that of 0
            raise ValueError(f"Float: log=True needs low of {tiny:.2g} or more, got low={low!r}")


def check_fits(kind: str, value: Any) -> None:
    """Raises ValueError if a number is too large for the program's floats."""
    if abs(value) > float(np.finfo(float_dtype()).max):
        raise ValueError(f"{kind}: {reprlib.repr(value)} does not fit {float_dtype()}")
