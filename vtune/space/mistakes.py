"""Entries of a space that pass as fixed values and are meant as something else."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping, MappingView
from typing import Any

import numpy as np

from vtune.space.distributions import Categorical, Float, Int, Ordinal
from vtune.space.foreign import converted
from vtune.validation import is_number, is_whole

_KINDS = Float | Int | Ordinal | Categorical


def check_entry(name: str, value: Any) -> None:
    """Raises TypeError where a value is certainly not what its writer means.

    Args:
      value: as written, other libraries' distributions converted.
    """
    what = f"space[{name!r}]"
    if isinstance(value, list | range | set):
        raise TypeError(
            f"{what}: {value!r} is a bare {type(value).__name__}; to try each, write "
            "vt.Ordinal([...]) for numbers or vt.Categorical([...]); for a range, vt.Float(low, "
            "high) or vt.Int(low, high); to fix it, the only choice of a vt.Categorical([[...]])"
        )
    if _is_class(value):
        raise TypeError(f"{what}: {value.__name__} is the class; call it with a range")
    for given in value.choices if isinstance(value, Categorical) else (value,):
        _check_kind(what, given)
    inside = value.choices if isinstance(value, Categorical) else value
    found = _held(what, inside)
    if found:
        path, kind = found
        instead = (
            "hyperparameters that only some choices have are a list of spaces, such as "
            '[{"kind": "a", "b": vt.Float(0, 1)}, {"kind": "c"}]'
            if isinstance(value, Categorical)
            else f'write it as an entry of its own, such as {{"{name}_{path[-1]}": vt.{kind}(...)}}'
        )
        raise TypeError(f"{what} holds a vt.{kind}, and a space is flat; {instead}")


def _check_kind(what: str, value: Any) -> None:
    """Raises TypeError for what is read only once, and for arguments of `vt.tune`."""
    kind = type(value).__name__
    if isinstance(value, Iterator | MappingView) and not hasattr(value, "read"):  # no file
        raise TypeError(
            f"{what}: a {kind} is no value that every member can read; write "
            "vt.Ordinal(list(...)) or vt.Categorical(list(...)) to try each"
        )
    for folder, argument in (("search", "search"), ("refine", "refiner")):
        if type(value).__module__.startswith(f"vtune.{folder}."):
            raise TypeError(
                f"{what}: vt.{kind} is no value; write vt.tune(..., {argument}=vt.{kind}(...))"
            )


def check_fixed(name: str, value: Any) -> None:
    """Raises TypeError where a fixed value looks like a range, or like a number in quotes.

    Raises ValueError where it is NaN.
    """
    what = f"space[{name!r}]"
    if type(value) is tuple and len(value) == 2 and all(map(is_number, value)):
        low, high = value
        if low < high:
            kind = "Int" if is_whole(low) and is_whole(high) else "Float"
            raise TypeError(
                f"{what}: {value!r} would be a fixed value; for a range, write "
                f"vt.{kind}({low!r}, {high!r}); to fix the pair, "
                f"vt.Categorical([{value!r}])"
            )
    if isinstance(value, float | np.floating) and math.isnan(value):
        raise ValueError(f"{what} is NaN, with which nothing trains; give a number")
    if is_whole(value) and abs(value) >= 2**1023:
        raise ValueError(f"{what}: {reprlib.repr(value)} is too large for any number of JAX's")
    if isinstance(value, str) and any(c.isdigit() for c in value) and _is_float(value):
        raise TypeError(
            f"{what}: {value!r} is a string; write {value.strip()} without quotes, or "
            f"vt.Categorical([{value!r}]) if a string is meant"
        )


def _held(what: str, value: Any, path: tuple = (), depth: int = 8) -> tuple[tuple, str] | None:
    """Returns where in a container a distribution is held, and its kind; None without one."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        items = list(enumerate(value))
    else:
        return None
    for key, item in items:
        item = converted(what, item)
        if isinstance(item, _KINDS):
            return (*path, key), type(item).__name__
        if _is_class(item):
            return (*path, key), item.__name__
        found = _held(what, item, (*path, key), depth - 1) if depth else None
        if found:
            return found
    return None


def _is_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, _KINDS)


def _is_float(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
