"""`vt.log.CSV` and `vt.log.JSONLines`: one row for each round and member, in a file.

A file is opened for each report and closed after it, so that a run that is killed leaves whole
lines, and whoever looks on sees them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from vtune.log.rows import Rows, finite
from vtune.results.paths import folder_of
from vtune.results.report import Report, Run


class CSV:
    """Writes a table: one row for each round and member that was trained in it.

    The columns are `round`, `member`, `parent` (whose weights the member continued), the
    hyperparameters as trained with, and the metrics that are single numbers. A metric that is not
    finite is `nan` or `inf`; a hyperparameter that the member does not have is empty.

    Args:
      path: of the file; folders are made. A sweep that goes on (`vt.extend`, `checkpoint=`)
        continues it.
      overwrite: whether a sweep that begins may replace a file that is there.
      strict: whether a failure ends the sweep; see `docs/guides/callbacks.md`.

    Raises:
      FileExistsError: the file is there, and a sweep begins. Raised before anything is compiled.
    """

    def __init__(self, path: str | os.PathLike, *, overwrite: bool = False, strict: bool = False):
        self._file = _File("CSV", path, overwrite)
        self.strict = strict

    def begin(self, run: Run) -> None:
        self._file.check(run)
        self._rows = Rows(run.space.names)

    def rounds(self, report: Report) -> None:
        header = _table([self._rows.columns(report, arrays=False)])
        if self._file.due:
            self._file.start(header, lambda text: self._before(text, header, report.first))
        self._file.append(_table(self._rows.rows(report, arrays=False)))

    def _before(self, text: str, header: str, first: int) -> str:
        """Returns what a file holds of the rounds before `first`."""
        (columns, *rows), (expected,) = _parsed(text), _parsed(header)
        self._file.check_columns(columns, expected)
        return header + _table(row for row in rows if int(row[0]) < first)


class JSONLines:
    """Writes one JSON object a line, for each round and member that was trained in it.

    The keys are those of `vt.log.CSV`'s columns, and all metrics; arrays are lists. It is strict
    JSON: a number that is not finite is null. `pandas.read_json(path, lines=True)` reads it.

    Args:
      path, overwrite, strict: as for `vt.log.CSV`.

    Raises:
      FileExistsError: as `vt.log.CSV`.
    """

    def __init__(self, path: str | os.PathLike, *, overwrite: bool = False, strict: bool = False):
        self._file = _File("JSONLines", path, overwrite)
        self.strict = strict

    def begin(self, run: Run) -> None:
        self._file.check(run)
        self._rows = Rows(run.space.names)

    def rounds(self, report: Report) -> None:
        columns = self._rows.columns(report, arrays=True)
        if self._file.due:
            self._file.start("", lambda text: self._before(text, columns, report.first))
        rows = self._rows.rows(report, arrays=True)
        objects = (dict(zip(columns, finite(row), strict=True)) for row in rows)
        self._file.append("".join(json.dumps(o, allow_nan=False) + "\n" for o in objects))

    def _before(self, text: str, columns: list[str], first: int) -> str:
        """Returns what a file holds of the rounds before `first`."""
        lines = text.splitlines(keepends=True)
        rows = [json.loads(line) for line in lines]
        for row in rows[:1]:
            self._file.check_columns(list(row), columns)
        kept = zip(lines, rows, strict=True)
        return "".join(line for line, row in kept if row["round"] < first)


class _File:
    """A file of rows, begun anew or continued.

    Attributes:
      due: whether it must be started before rows are appended.
    """

    def __init__(self, who: str, path: Any, overwrite: Any):
        self._who, self._overwrite, self.due = f"vt.log.{who}", overwrite, True
        self._begins = True
        self._path = folder_of(self._who, path, "file", "runs/a/history.csv")
        if self._path.is_dir():
            raise IsADirectoryError(f"{self._who}: {self._path} is a folder; give a file in it")

    def check(self, run: Run) -> None:
        """Raises where a sweep that begins would replace a file; makes its folder."""
        if run.first == 0 and not self._overwrite and self._size():
            raise FileExistsError(
                f"{self._who}: {self._path} is there already; give another path, or "
                f"{self._who}(path, overwrite=True)"
            )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._begins = run.first == 0
        self.due = True

    def start(self, header: str, before: Callable[[str], str]) -> None:
        """Writes what comes before the first row, at once or not at all.

        Args:
          before: returns what to keep of a text that is there, for a sweep that goes on.
        """
        text = self._path.read_text("utf-8") if self._size() and not self._begins else ""
        whole = text[: text.rfind("\n") + 1]  # without a line that was being written
        kept = before(whole) if whole else header
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        new.write_text(kept, "utf-8", newline="\n")
        os.replace(new, self._path)
        self.due = False

    def append(self, text: str) -> None:
        with open(self._path, "a", encoding="utf-8", newline="\n") as file:
            file.write(text)

    def check_columns(self, found: list[str], expected: list[str]) -> None:
        """Raises ValueError where a file that is to be continued has other columns."""
        if found != expected:
            raise ValueError(
                f"{self._who}: {self._path} has the columns {found}, and the sweep has {expected}; "
                "give another path"
            )

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def _table(rows: Iterable[list[Any]]) -> str:
    """Returns rows as text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))
