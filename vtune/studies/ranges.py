"""The hyperparameters of a sweep in Optuna's terms: one distribution each, and values that it
contains. Needs no Optuna.

A study wants one distribution a name, where the parts of a space that is a list may have several.
Ranges are then the smallest one that holds all; choices are all that there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from vtune.hparams import Static
from vtune.log.rows import plain
from vtune.space.distributions import Categorical, Float, Int, Ordinal
from vtune.validation import is_number, is_whole
from vtune.visible import in_utf8, visible


class Numbers(NamedTuple):
    """Optuna's `FloatDistribution` or, where `whole`, `IntDistribution`."""

    whole: bool
    low: Any
    high: Any
    log: bool = False
    step: Any = None

    def value(self, given: Any) -> Any:
        """The value as the distribution contains it: the last step may be above the decimal that
        the range ends with."""
        return int(given) if self.whole else float(min(max(given, self.low), self.high))


class Choices(NamedTuple):
    """Optuna's `CategoricalDistribution`.

    Attributes:
      label_of: by value (see `key_of`), what Optuna holds: None, bool, int, float, str; no two are
        equal in Python.
    """

    label_of: dict[Any, Any]

    @property
    def labels(self) -> tuple[Any, ...]:
        return tuple(self.label_of.values())

    def value(self, given: Any) -> Any:
        """The label of a value."""
        return self.label_of[key_of(given)]


def distribution_of(entries: Sequence[Any], found: Iterable[Any]) -> Numbers | Choices | None:
    """Returns the distribution of a hyperparameter; None where it is one fixed value.

    Args:
      entries: what each part of the space has under its name: a distribution or a fixed value.
      found: the values that members have.
    """
    ranges = [entry for entry in entries if isinstance(entry, Float | Int)]
    listed = [value for entry in entries for value in values_listed(entry)]
    if not ranges:
        fixed = not any(isinstance(entry, Ordinal | Categorical) for entry in entries)
        choices = _choices(listed)
        return None if fixed and len(choices.label_of) == 1 else choices
    if all(map(is_number, listed)):
        return _numbers(ranges, listed)
    return _choices([*listed, *found])  # no range holds a text


def values_listed(entry: Any) -> Sequence[Any]:
    """The values of what is no range."""
    if isinstance(entry, Float | Int):
        return ()
    if isinstance(entry, Ordinal):
        return entry.values
    return entry.choices if isinstance(entry, Categorical) else (entry,)


def _numbers(ranges: Sequence[Float | Int], others: Sequence[Any]) -> Numbers:
    """The smallest range that holds ranges and other numbers."""
    whole = all(isinstance(one, Int) for one in ranges) and all(map(is_whole, others))
    low = min([one.low for one in ranges] + [*others])
    high = max([_last(one) for one in ranges] + [*others])
    log = low > 0 and all(one.log for one in ranges)
    step = None if log else _step(ranges, others)
    if whole:
        return Numbers(True, int(low), int(high), log, step or 1)
    return Numbers(False, float(low), float(high), log, step)


def _last(one: Float | Int) -> Any:
    """The largest value; Optuna counts steps in decimals."""
    if one.step is None or not one.count:
        return one.high
    if isinstance(one, Int):
        return one.low + (one.count - 1) * one.step
    return float(_decimal(one.low) + (one.count - 1) * _decimal(one.step))


def _step(ranges: Sequence[Float | Int], others: Sequence[Any]) -> Any:
    """The step that all values lie on; None where they have none."""
    step, low = ranges[0].step, ranges[0].low
    if step is None or any(one.step != step for one in ranges):
        return None
    places = [*(one.low for one in ranges), *others]
    on_steps = all((_decimal(at) - _decimal(low)) % _decimal(step) == 0 for at in places)
    return step if on_steps else None


def _decimal(number: Any) -> Decimal:
    return Decimal(str(number))


def _choices(values: Iterable[Any]) -> Choices:
    """All different values in their order, with a label for each.

    Python takes 1, 1.0 and True for one value, and so does Optuna: where there are several of
    them, the later ones go as texts.
    """
    labels: dict[Any, Any] = {}
    for value in values:
        key = key_of(value)
        if key in labels:
            continue
        label = _storable(value)
        if label in labels.values():
            label = in_utf8(str(label))
        text, number = label, 1
        while label in labels.values():
            number += 1
            label = f"{text} ({number})"
        labels[key] = label
    return Choices(labels)


def visible_names(names: tuple[str, ...]) -> dict[str, str]:
    """Names as a database and a page can have them, all different."""
    shown: dict[str, str] = {}
    for name in names:
        text = visible(name)
        while text in shown.values():
            text += "'"
        shown[name] = text
    return shown


def key_of(value: Any) -> Any:
    """Returns what tells a value from all others, 1 from True as well; fast for plain ones."""
    if type(value) in (bool, int, float, str):
        return type(value), repr(value)
    return Static(value)


def _storable(value: Any) -> Any:
    """What stands for a value in the table, where a database can hold it; else its text."""
    shown = plain(value)
    return in_utf8(str(shown)) if isinstance(shown, list | str) else shown
