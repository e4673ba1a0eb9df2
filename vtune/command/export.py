"""`python -m vtune export`: the table or the history of a sweep as CSV or JSON lines."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vtune.command.opened import add_folder, opened
from vtune.command.output import FINE


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser("export", help="table or history as CSV or JSON lines")
    add_folder(parser)
    parser.add_argument(
        "--what",
        choices=("table", "history"),
        default="table",
        help="a row a member, or a row for each round and member; table",
    )
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="csv")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of the terminal")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the rows. In CSV what is not finite is empty, in JSON it is null; JSON lines of the
    history also have the metrics that are no single numbers.

    Raises:
      OSError, ValueError, DamagedSweepError: see `opened`. FileExistsError: the file is there.
    """
    sweep = opened(arguments.folder)
    from vtune.command.rows import history_rows, table_rows

    names: list[str]
    rows: Any
    if arguments.what == "table":
        names, rows = table_rows(sweep)
    else:
        names, rows = history_rows(sweep, arrays=arguments.format == "jsonl")
    with _target(arguments.output, arguments.overwrite) as file:
        if arguments.format == "csv":
            csv.writer(file, lineterminator="\n").writerows([names, *rows])
        else:
            for row in rows:
                entry = dict(zip(names, row, strict=True))
                file.write(json.dumps(entry, allow_nan=False) + "\n")
    return FINE


@contextlib.contextmanager
def _target(path: Path | None, overwrite: bool) -> Iterator[IO[str]]:
    """Opens what is written to."""
    if path is None:
        yield sys.stdout
        return
    try:
        file = path.open("w" if overwrite else "x", encoding="utf-8", newline="\n")
    except FileExistsError:
        raise FileExistsError(f"{path} is there already; give --overwrite, or another") from None
    with file:
        yield file
