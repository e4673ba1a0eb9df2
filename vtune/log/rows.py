"""Reports as rows: one for each round and member that was trained in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from vtune.results.member import printable
from vtune.results.report import Report

KEYS = ("round", "member", "parent")  # what identifies a row, and whose weights were continued


class Rows:
    """Makes the rows of a sweep's reports.

    Args:
      names: of all hyperparameters, in the order of their columns.
    """

    def __init__(self, names: tuple[str, ...]):
        self._names = names
        self._known: dict[int, tuple[Any, dict[str, Any]]] = {}  # what was read of each member

    def columns(self, report: Report, arrays: bool) -> list[str]:
        """Returns the names of the columns: keys, hyperparameters, metrics.

        Args:
          arrays: whether metrics that are no single numbers are among them.
        """
        metrics = [name for name, values in report.history.items() if arrays or values.ndim == 2]
        taken = {*KEYS, *report.history}
        return [*KEYS, *(f"hparams/{n}" if n in taken else n for n in self._names), *metrics]

    def rows(self, report: Report, arrays: bool) -> Iterator[list[Any]]:
        """Yields the rows as plain values in the order of `columns`; None where there is none."""
        metrics = [values for values in report.history.values() if arrays or values.ndim == 2]
        for row, member in zip(*np.nonzero(report.trained), strict=True):
            hparams = self._hparams(report, int(row), int(member))
            yield [
                report.first + int(row),
                int(member),
                int(report.parents[row, member]),
                *(plain(hparams.get(name)) for name in self._names),
                *(plain(values[row, member]) for values in metrics),
            ]

    def _hparams(self, report: Report, row: int, member: int) -> dict[str, Any]:
        """Returns a member's hyperparameters; in most sweeps those of the round before."""
        values = tuple(settings[row, member] for settings in report.settings.values())
        known = self._known.get(member)
        if known is None or not np.array_equal(known[0], values, equal_nan=True):
            known = self._known[member] = values, report.hparams(member, report.first + row)
        return known[1]


def plain(value: Any) -> Any:
    """Returns a value as bool, int, float, str or None, or as a list of such.

    A float is the shortest decimal that is the number in its own precision.
    """
    value = printable(value)
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(part) for part in value]
    if isinstance(value, np.floating):
        return float(str(value))
    if isinstance(value, np.generic | np.ndarray):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def finite(value: Any) -> Any:
    """Replaces what JSON has no number for by None, also inside lists."""
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
