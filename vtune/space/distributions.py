"""The distributions of a hyperparameter: Float, Int and Ordinal are traced, Categorical structural.

Values are drawn on the host in float64 and cast to the program's dtype, with the bounds rounded
inward: float32(0.1) > 0.1, and no value may leave its range when it is read in float64.
"""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtune.keywords import answering
from vtune.space.checks import (
    check_fits,
    check_number,
    check_range,
    check_several,
    check_step,
    duplicates,
    is_finite,
    listed,
)
from vtune.types import float_dtype
from vtune.validation import LARGEST, is_number, is_whole, plain_number


@answering
@dataclass(frozen=True)
class Float:
    """A real number in [low, high], drawn uniformly or uniformly in its logarithm.

    Args:
      low, high: the range, both ends included.
      log: whether to draw on a logarithmic scale; needs `low > 0`.
      step: if given, only the values `low`, `low + step`, `low + 2 step`, ... up to `high`.

    Raises:
      TypeError: a bound is not a number.
      ValueError: the bounds are in the wrong order or not finite, or do not go with `log` or
        `step`.

    Examples:
      >>> Float(1e-4, 1e-1, log=True)
      Float(low=0.0001, high=0.1, log=True, step=None)
    """

    low: Any
    high: Any
    log: bool = False
    step: Any = None

    def __post_init__(self) -> None:
        _as_plain(self)
        check_range("Float", self.low, self.high, self.log)
        if self.step is not None:
            check_number("Float", "step", self.step)
            check_step("Float", self.step, self.log)
            if (self.high - self.low) / self.step >= LARGEST:
                raise ValueError(
                    f"Float: step={self.step!r} makes more than {LARGEST} values; leave it out"
                )
            check_several("Float", self.count, self.low, self.high, self.step)

    @property
    def count(self) -> int | None:
        """The number of values; None for a continuous range."""
        if self.step is None:
            return 1 if self.low == self.high else None
        rounding = 1e-15 * max(abs(self.low), abs(self.high)) / self.step  # of the ends
        return math.floor((self.high - self.low) / self.step + 1e-9 + min(rounding, 1e-3)) + 1

    def _nth(self, k: np.ndarray) -> np.ndarray:
        return np.minimum(self.low + k * (self.step or 0.0), self.high)

    def from_unit(self, u: np.ndarray) -> np.ndarray:
        """Maps uniform `u` in [0, 1) to values, in the program's dtype."""
        u = np.asarray(u, np.float64)
        if self.step is not None:
            values = self._nth(_index(u, self.count or 1))
        elif self.log:
            values = np.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            values = self.low + u * (float(self.high) - float(self.low))
        return self.cast(values)

    def grid(self, points: int | None) -> np.ndarray:
        """Returns `points` values, evenly spaced on the scale, both ends included.

        A `Float` with steps takes None and returns all its values.
        """
        if self.step is not None and points in (None, self.count):
            return self.cast(self._nth(np.arange(self.count or 1)))
        if self.step is not None:
            raise ValueError(f"has {self.count} steps; leave its number of points out")
        if points is None:
            if self.low == self.high:
                return self.cast(np.array([self.low]))
            raise ValueError("is continuous; give it a number of points")
        if points == 1:  # the middle, not an end
            return self.from_unit(np.array([0.5]))
        values = self.from_unit(np.linspace(0.0, 1.0, points))
        if len(np.unique(values)) < points:
            raise ValueError(f"has no {points} different values in {values.dtype}")
        return values

    def cast(self, values: Any) -> np.ndarray:
        """Casts values to the program's dtype and clips them to the bounds, rounded inward."""
        low, high = _inward(self.low, self.high)
        return np.clip(np.asarray(values, np.float64).astype(float_dtype()), low, high)

    def contains(self, value: Any) -> bool:
        """Whether a user's number lies in the range and on the steps."""
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        k = (value - self.low) / self.step
        return abs(k - round(k)) < 1e-6

    def report(self, value: Any) -> float:
        """Returns the value as a Python number, on the declared steps."""
        if self.step is None:  # the shortest decimal that is this number in the program's dtype
            return float(min(max(float(str(value)), self.low), self.high))
        return float(self._nth(np.round((float(value) - self.low) / self.step)))


@answering
@dataclass(frozen=True)
class Int:
    """A whole number in [low, high], both ends included.

    It is traced, so it cannot set a shape such as a layer's width: use `Categorical` for that.

    Args:
      low, high: the range.
      log: whether to draw on a logarithmic scale; needs `low > 0`.
      step: only the values `low`, `low + step`, ... up to `high`.

    Raises:
      TypeError: a bound is not a whole number.
      ValueError: the bounds are in the wrong order, do not fit 32 bits, or do not go with `log` or
        `step`.
    """

    low: Any
    high: Any
    log: bool = False
    step: Any = 1

    def __post_init__(self) -> None:
        _as_plain(self)
        for name in ("low", "high", "step"):
            if not is_whole(getattr(self, name)):
                raise TypeError(
                    f"Int: {name}={getattr(self, name)!r} must be a whole number; "
                    "for others use vt.Float"
                )
        check_range("Int", self.low, self.high, self.log)
        if self.step != 1:
            check_step("Int", self.step, self.log)
        check_several("Int", self.count, self.low, self.high, self.step)
        if not -(2**31) <= self.low <= self.high < 2**31:
            ends = f"{reprlib.repr(self.low)} to {reprlib.repr(self.high)}"
            raise ValueError(f"Int: {ends} does not fit 32 bits")
        if self.high - self.low >= 2**31 - 1:
            raise ValueError(
                f"Int: {self.low} to {self.high} are more than {2**31 - 1} values; for so wide a "
                "range write vt.Float"
            )

    @property
    def count(self) -> int:
        """The number of values."""
        return (self.high - self.low) // self.step + 1

    def from_unit(self, u: np.ndarray) -> np.ndarray:
        """Maps uniform `u` in [0, 1) to int32 values."""
        u = np.asarray(u, np.float64)
        if self.log:  # each number stands for the half unit on either side
            a, b = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return self.cast(np.clip(np.round(np.exp(a + u * (b - a))), self.low, self.high))
        return self.cast(self.low + self.step * _index(u, self.count))

    def grid(self, points: int | None) -> np.ndarray:
        """Returns all values, or `points` of them, evenly spaced on the scale."""
        if points is None or points == self.count:
            return self.cast(self.low + self.step * np.arange(self.count))
        if points > self.count:
            raise ValueError(f"has only {self.count} values, {points} points asked for")
        if points == 1:
            return self.from_unit(np.array([0.5]))
        if self.log:
            values = np.round(np.geomspace(self.low, self.high, points))
        else:
            k = np.round(np.linspace(0, self.count - 1, points))
            values = self.low + self.step * k
        taken = set(self.cast(values).tolist())
        free = (v for v in range(self.low, self.high + 1, self.step) if v not in taken)
        return self.cast(sorted(taken.union(itertools.islice(free, points - len(taken)))))

    def cast(self, values: Any) -> np.ndarray:
        """Casts values to int32."""
        return np.asarray(values).astype(np.int32)

    def contains(self, value: Any) -> bool:
        """Whether a user's number is one of the values."""
        whole = is_whole(value) or (isinstance(value, float) and value.is_integer())
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def report(self, value: Any) -> int:
        """The value as a Python number."""
        return int(value)


@answering
@dataclass(frozen=True)
class Ordinal:
    """One of an ordered list of numbers, such as C in 0.001, 0.01, ..., 100. It is traced.

    Args:
      values: the numbers, in their order.

    Raises:
      TypeError: a value is not a number.
      ValueError: the list is empty, or a value is not finite or occurs twice.
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        values = listed("Ordinal", self.values, "numbers")
        object.__setattr__(self, "values", tuple(map(plain_number, values)))
        if not self.values:
            raise ValueError("Ordinal: no values; give at least one number")
        for value in self.values:
            if not is_number(value):
                raise TypeError(
                    f"Ordinal: {value!r} is not a number; for other choices use vt.Categorical"
                )
            if not is_finite(value):
                raise ValueError(f"Ordinal: {value!r} is not finite")
            check_fits("Ordinal", value)
            if (
                is_whole(value)
                and abs(value) >= 2**31
                and float(float_dtype().type(value)) != value
            ):
                raise ValueError(
                    f"Ordinal: {value!r} does not fit 32 bits; write {float(value)!r} if a real "
                    "number near it will do"
                )
        twice = duplicates(self.values)
        if twice:
            raise ValueError(f"Ordinal: {twice[0]!r} is given twice")
        first: dict[Any, Any] = {}
        for value, number in zip(self.values, self.grid(None).tolist(), strict=True):
            if number in first:
                raise ValueError(
                    f"Ordinal: {first[number]!r} and {value!r} are one number in {float_dtype()}; "
                    "leave one out, or set jax_enable_x64"
                )
            first[number] = value

    @property
    def count(self) -> int:
        """The number of values."""
        return len(self.values)

    def from_unit(self, u: np.ndarray) -> np.ndarray:
        """Maps uniform `u` in [0, 1) to values, in the program's dtype."""
        return self.grid(None)[_index(np.asarray(u, np.float64), self.count)]

    def grid(self, points: int | None) -> np.ndarray:
        """Returns all values in the order given."""
        if points not in (None, self.count):
            raise ValueError(f"has {self.count} values; leave its number of points out")
        return self.cast(self.values)

    def cast(self, values: Any) -> np.ndarray:
        """Casts values of the list to the program's dtype, its ends rounded inward."""
        if all(map(is_whole, self.values)) and max(map(abs, self.values)) < 2**30:
            return np.asarray(values).astype(np.int32)
        low, high = _inward(min(self.values), max(self.values))
        return np.clip(np.asarray(values, np.float64).astype(float_dtype()), low, high)

    def contains(self, value: Any) -> bool:
        """Whether a user's number is on the list."""
        return is_number(value) and any(value == v for v in self.values)

    def report(self, value: Any) -> Any:
        """Returns the value as it was written in the list."""
        return min(self.values, key=lambda v: abs(float(v) - float(value)))


@answering
@dataclass(frozen=True)
class Categorical:
    """One of several plain Python values, which are part of the program (structural).

    The members that share a choice are a cohort; each cohort may have its own shapes.

    Args:
      choices: the values, such as layer widths, optimizers or activations.

    Raises:
      TypeError: `choices` is not a list.
      ValueError: the list is empty, or a choice occurs twice.
    """

    choices: Sequence[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(listed("Categorical", self.choices, "choices")))
        if not self.choices:
            raise ValueError("Categorical: no choices; give at least one")
        twice = duplicates(self.choices)
        if twice:
            raise ValueError(f"Categorical: choice {twice[0]!r} is given twice")


Traced = Float | Int | Ordinal


def _index(u: np.ndarray, count: int) -> np.ndarray:
    return np.minimum((u * count).astype(np.int64), count - 1)


def _inward(low: float, high: float) -> tuple[np.floating, np.floating]:
    """Returns the bounds in the program's dtype, rounded towards each other."""
    dtype = float_dtype().type
    a, b = dtype(low), dtype(high)
    if float(a) < low:
        a = np.nextafter(a, dtype(np.inf))
    if float(b) > high:
        b = np.nextafter(b, dtype(-np.inf))
    return (a, b) if a <= b else (dtype(low), dtype(low))  # no number lies in between: the nearest


def _as_plain(distribution: Any) -> None:
    """Turns the numbers of a distribution into Python's."""
    for name in ("low", "high", "step"):
        object.__setattr__(distribution, name, plain_number(getattr(distribution, name)))
