"""Checks of the numbers, folders and functions that users write, and of where they call.

Checks of a refiner's settings skip arrays. JAX builds the refiner again inside the program, with
traced arrays for its numbers; they were checked when the user built it.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = 2**31 - 1  # rounds are int32 inside the program
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # not a drive of Windows


def is_remote(name: str) -> bool:
    """Returns whether a path is that of another machine, such as "gs://bucket/runs"."""
    return _REMOTE.match(name) is not None


def is_whole(value: Any) -> bool:
    """Returns whether `value` is an integer, Python's or NumPy's, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Returns whether `value` is a real number, Python's or NumPy's, and not a bool."""
    return is_whole(value) or isinstance(value, float | np.floating)


def check_flag(what: str, value: Any) -> None:
    """Raises TypeError unless `value` is True or False (or 1 or 0): "no" would count as True.

    Args:
      what: the argument as the message names it.
    """
    if not isinstance(value, bool | np.bool_) and not (is_whole(value) and value in (0, 1)):
        raise TypeError(f"{what}={value!r} must be True or False")


def as_scalar(value: Any) -> Any:
    """Returns the number that a fraction, a decimal or an array without axes is; anything else as
    it is."""
    if isinstance(value, Fraction | Decimal):
        return float(value)
    is_array = isinstance(value, np.ndarray | jax.Array) and not is_tracer(value)
    if is_array and not value.ndim and jnp.issubdtype(value.dtype, jnp.number):
        return np.asarray(value)[()]
    return value


def plain_number(value: Any) -> Any:
    """Returns a number of any kind as Python's, whose differences do not overflow as NumPy's do;
    anything else as it is."""
    value = as_scalar(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.generic) and jnp.issubdtype(value.dtype, jnp.floating):
        return float(str(value))  # the shortest decimal: 0.1 of float32(0.1)
    return value


def is_tracer(value: Any) -> bool:
    """Returns whether `value` stands for an array in a function that JAX traces."""
    return isinstance(value, jax.core.Tracer)


def check_untraced(who: str, **given: Any) -> None:
    """Raises TypeError in a function that JAX traces, or where an argument holds a tracer.

    Args:
      who: what was called, as the message names it. given: pytrees by their names.
    """
    for name, tree in given.items():
        if any(map(is_tracer, jax.tree.leaves(tree))):
            raise TypeError(f"{who}: {name}= holds arrays that JAX traces; {_UNTRACED}")
    if is_tracer(jax.device_put(np.int32(0))):  # without a trace it stays an array
        raise TypeError(f"{who}: called in a function that JAX traces; {_UNTRACED}")


_UNTRACED = (
    "vtune compiles and runs programs of its own, so call it outside of jax.jit, vmap, grad, scan "
    "and eval_shape, with arrays that have values, and pass on what it returns"
)


def check_count(what: str, value: Any, least: int = 1) -> None:
    """Raises ValueError unless `value` is a whole number, `least` or more.

    Args:
      what: the argument as the message names it, such as "epochs" or "holdout: seed".
    """
    if not is_whole(value) or value < least:
        raise ValueError(f"{what}={value!r} must be a whole number, {least} or more")


def check_call(
    who: str, function: Any, arguments: str, keywords: str = "", instead: str = ""
) -> None:
    """Raises TypeError if the user's function `who` cannot be called with these arguments.

    Args:
      arguments: their names, such as "outputs, batch, h". keywords: of those passed by name.
      instead: what to write, for the message.
    """
    by_name = dict.fromkeys(filter(None, keywords.split(", ")))
    named = f", *, {keywords}" if keywords else ""
    write = f"; write {instead}" if instead else ""
    if not callable(function):
        takes = f"({arguments}{named})"
        raise TypeError(f"{who} must be a function of {takes}, got {function!r}{write}")
    try:
        inspect.signature(function).bind(*arguments.split(", "), **by_name)
    except TypeError:
        raise TypeError(f"{who} must take the arguments ({arguments}{named}){write}") from None
    except ValueError:  # built-in functions may have no signature
        pass


def check_whole(who: str, name: str, value: Any, least: int, most: int = LARGEST) -> None:
    """Raises unless a refiner's setting is a whole number from `least` to `most`.

    Raises:
      TypeError: it is no whole number. ValueError: it is out of range.
    """
    if not _is_plain(value):
        return
    if not is_whole(value):
        raise TypeError(f"{who}: {name}={value!r} must be a whole number, {least} or more")
    if value < least:
        raise ValueError(f"{who}: {name}={value!r} must be {least} or more")
    if value > most:
        raise ValueError(f"{who}: {name}={value!r} must be at most {most}")


def check_between(who: str, name: str, value: Any, low: Any, high: Any, open: str = "") -> None:
    """Raises unless a refiner's setting is a number from `low` to `high`.

    Args:
      open: "low" leaves the low end out.

    Raises:
      TypeError: it is no number. ValueError: it is out of range.
    """
    if not _is_plain(value):
        return
    span = f"above {low:g} and at most {high:g}" if open == "low" else f"from {low:g} to {high:g}"
    if not is_number(value):
        raise TypeError(f"{who}: {name}={value!r} must be a number {span}")
    if not low <= value <= high or (open == "low" and value == low):
        raise ValueError(f"{who}: {name}={value!r} must be {span}")


def check_factors(who: str, name: str, factors: Any) -> None:
    """Raises unless a refiner's setting is a sequence of finite numbers above 0.

    Raises:
      TypeError: it is no sequence, or holds something else. ValueError: it is empty, or holds a
        number out of range.
    """
    if isinstance(factors, str) or not isinstance(factors, Sequence):
        raise TypeError(f"{who}: {name}={factors!r} must be a sequence such as (1.2, 0.8)")
    if not factors:
        raise ValueError(f"{who}: {name} is empty; give at least one factor, such as (1.2, 0.8)")
    for factor in factors:
        if not _is_plain(factor):
            continue
        if not is_number(factor):
            raise TypeError(f"{who}: {name} must hold numbers, got {factor!r}")
        if not 0 < factor < math.inf:
            raise ValueError(f"{who}: {name} must hold finite numbers above 0, got {factor!r}")


def check_size(who: str, size: int, least: int, why: str) -> None:
    """Raises ValueError unless a cohort has at least `least` members."""
    if size < least:
        raise ValueError(
            f"{who} needs at least {least} members a cohort, {why}; this one has {size}"
        )


def as_floats(refiner: Any, *names: str) -> None:
    """Turns the real numbers in these settings of a refiner into floats; arrays stay.

    A setting written as 1 and one written as 1.0 would else have different types inside the
    program, and so compile twice.
    """
    real = lambda value: float(value) if is_number(value) else value
    for name in names:
        value = getattr(refiner, name)
        several = isinstance(value, Sequence) and not isinstance(value, str)
        object.__setattr__(refiner, name, tuple(map(real, value)) if several else real(value))


def _is_plain(value: Any) -> bool:
    """Returns whether a user wrote this value; else it is an array or part of a traced pytree."""
    return value is None or isinstance(value, int | float | complex | str | Sequence | np.generic)
