"""The table and the history of a sweep as rows of plain values, without pandas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vtune.log.rows import Rows, finite, plain
from vtune.results import Sweep
from vtune.results.report import Report
from vtune.results.table import columns_to_read, table_columns


def table_rows(sweep: Sweep, whole: bool = True) -> tuple[list[str], list[list[Any]]]:
    """Returns the names of the columns and the rows of the table, the best member first; None for
    what is not finite.

    Args:
      whole: all columns, or only those that `sweep.top` has.
    """
    columns, read = table_columns(sweep.trained), columns_to_read(sweep.trained)
    names = [name for name in columns if whole or name in read]
    rows = [
        [sweep[member].index, *(finite(plain(columns[name][member])) for name in names)]
        for member in sweep.ranking.tolist()
    ]
    return ["member", *names], rows


def history_rows(sweep: Sweep, arrays: bool) -> tuple[list[str], Iterator[list[Any]]]:
    """Returns the names of the columns and the rows of the history, one for each round and member
    that was trained in it: those that `vt.log.CSV` and `vt.log.JSONLines` write. None for what is
    not finite.

    Args:
      arrays: whether metrics that are no single numbers are among them.
    """
    names, rows = _history_rows(sweep, arrays)
    return names, map(finite, rows)


def typed_table(sweep: Sweep) -> dict[str, Any]:
    """Returns the columns of the table by name, the best member first: arrays as they were
    recorded, else lists of plain values."""
    order = sweep.ranking
    columns: dict[str, Any] = {"member": np.array([sweep[member].index for member in order])}
    for name, values in table_columns(sweep.trained).items():
        if isinstance(values, np.ndarray):
            columns[name] = values[order]
        else:
            columns[name] = [plain(values[member]) for member in order]
    return columns


def typed_history(sweep: Sweep) -> dict[str, Any]:
    """Returns the columns of the history by name, in the order of `history_rows`: arrays as they
    were recorded, [rows, ...], else lists of plain values."""
    records = sweep.trained.records
    names, rows = _history_rows(sweep, arrays=True)
    known = len(names) - len(records.history)
    columns: dict[str, Any] = {name: [] for name in names[:known]}
    for row in rows:
        for name, value in zip(names[:known], row, strict=False):
            columns[name].append(value)
    return columns | {name: values[records.trained] for name, values in records.history.items()}


def _history_rows(sweep: Sweep, arrays: bool) -> tuple[list[str], Iterator[list[Any]]]:
    trained = sweep.trained
    report = Report(
        first=0,
        stop=trained.rounds,
        rounds=trained.plan.rounds,
        history=trained.records.history,
        settings=trained.records.settings,
        parents=trained.records.parents,
        trained=trained.records.trained,
        scores=trained.scores,
        best=None,
        seconds=trained.timing.run,
        combinations=tuple(trained.cohorts[cohort].combination for cohort, _ in trained.places),
    )
    rows = Rows(trained.space.names)
    return rows.columns(report, arrays), rows.rows(report, arrays)
