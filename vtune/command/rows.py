"""The table and the history of a sweep as rows of plain values, without pandas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vtune.log.rows import Rows, finite, plain
from vtune.results import Sweep
from vtune.results.report import Report
from vtune.results.table import columns_to_read, table_columns


def table_rows(sweep: Sweep, whole: bool = True) -> tuple[list[str], list[list[Any]]]:
    """Returns the names of the columns and the rows of the table, the best member first.

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
    that was trained in it: those that `vt.log.CSV` and `vt.log.JSONLines` write.

    Args:
      arrays: whether metrics that are no single numbers are among them.
    """
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
    return rows.columns(report, arrays), map(finite, rows.rows(report, arrays))
