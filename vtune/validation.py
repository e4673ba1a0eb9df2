"""What refiners check of their settings. Numbers inside the program are arrays and are skipped:
they were checked when the refiner was built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = 2**31 - 1  # rounds are int32 inside the program


def as_floats(refiner: Any, *names: str) -> None:
    """Real numbers as floats, whatever they were written as: a whole one would be another type
    inside the program, and so another program. Arrays stay."""
    real = lambda value: float(value) if _is_real(value) else value
    for name in names:
        value = getattr(refiner, name)
        several = isinstance(value, Sequence) and not isinstance(value, str)
        object.__setattr__(refiner, name, tuple(map(real, value)) if several else real(value))


def check_whole(who: str, name: str, value: Any, least: int) -> None:
    """A whole number from `least` to `LARGEST`."""
    if not _is_plain(value):
        return
    if not is_whole(value):
        raise TypeError(f"{who}: {name}={value!r} is not a whole number")
    if value < least:
        raise ValueError(f"{who}: {name}={value!r} must be {least} or more")
    if value > LARGEST:
        raise ValueError(f"{who}: {name}={value!r} must be at most {LARGEST}")


def check_between(who: str, name: str, value: Any, low: Any, high: Any, open: str = "") -> None:
    """A number from `low` to `high`; `open="low"` leaves the low end out."""
    if not _is_plain(value):
        return
    if not _is_real(value):
        raise TypeError(f"{who}: {name}={value!r} is not a number")
    if not low <= value <= high or (open == "low" and value == low):
        least = "above" if open == "low" else "from"
        raise ValueError(f"{who}: {name}={value!r} must be {least} {low:g} to {high:g}")


def check_factors(who: str, name: str, factors: Any) -> None:
    """A sequence of numbers above 0."""
    if isinstance(factors, str) or not isinstance(factors, Sequence):
        raise TypeError(f"{who}: {name}={factors!r} is not a sequence such as (1.2, 0.8)")
    if not factors:
        raise ValueError(f"{who}: {name} is empty; give at least one factor, such as (1.2, 0.8)")
    for factor in factors:
        if not _is_plain(factor):
            continue
        if not _is_real(factor):
            raise TypeError(f"{who}: {name} holds {factor!r}, which is not a number")
        if not 0 < factor < math.inf:
            raise ValueError(f"{who}: {name} holds {factor!r}; factors are above 0 and finite")


def check_size(who: str, size: int, least: int, why: str) -> None:
    """A cohort has at least `least` members."""
    if size < least:
        raise ValueError(
            f"{who} needs at least {least} members a cohort, {why}; this one has {size}"
        )


def _is_plain(value: Any) -> bool:
    """Whether a value is what a user wrote, and not an array or a part of a traced pytree."""
    return value is None or isinstance(value, int | float | complex | str | Sequence | np.generic)


def _is_real(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool)
