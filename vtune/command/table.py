"""`python -m vtune table`: the members of a sweep, the best first."""

from __future__ import annotations

import argparse
from typing import Any

from vtune.aligned import aligned
from vtune.command.opened import add_folder, add_json, opened, whole_number
from vtune.command.output import FINE, json_text, shown


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser("table", help="the members of a sweep, the best first")
    add_folder(parser)
    parser.add_argument("--top", type=whole_number, metavar="N", help="only the N best")
    parser.add_argument("--sort", metavar="COLUMN", help="by this column, the smallest first")
    parser.add_argument("--reverse", action="store_true", help="the largest first")
    parser.add_argument("--all", action="store_true", help="all columns, by fold and seed too")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the table; JSON is a list of objects with all columns.

    Raises:
      OSError, ValueError: see `opened`; no such column. DamagedSweepError: see `opened`.
    """
    sweep = opened(arguments.folder)
    from vtune.command.rows import table_rows

    names, rows = table_rows(sweep, whole=arguments.all or arguments.json)
    rows = rows[: arguments.top]
    if arguments.sort is not None:
        rows = _sorted(names, rows, arguments.sort, arguments.reverse)
    if arguments.json:
        print(json_text([dict(zip(names, row, strict=True)) for row in rows]))
        return FINE
    numbers = {i for i in range(len(names)) if not any(isinstance(row[i], str) for row in rows)}
    print(aligned([list(map(shown, names)), *(list(map(_cell, row)) for row in rows)], numbers))
    return FINE


def _sorted(names: list[str], rows: list[list[Any]], by: str, reverse: bool) -> list[list[Any]]:
    """Returns the rows by a column; those where there is nothing stay last."""
    if by not in names:
        raise ValueError(f"--sort: there is no column {by!r}; there are {', '.join(names)}")
    place = names.index(by)

    def key(row: list[Any]) -> tuple[bool, Any]:
        value = row[place]
        number = isinstance(value, int | float)
        return not number, value if number else str(value)

    there = sorted((row for row in rows if row[place] is not None), key=key, reverse=reverse)
    return there + [row for row in rows if row[place] is None]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else shown(value)
