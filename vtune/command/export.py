"""`python -m vtune export`: the table or the history of a sweep for other tools."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vtune.command.opened import add_folder, opened
from vtune.command.output import FINE, shown

if TYPE_CHECKING:
    from vtune.results import Sweep

ROWS = ("csv", "jsonl", "parquet")  # formats of the table and the history


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser("export", help="table or history for other tools")
    add_folder(parser)
    parser.add_argument(
        "--what",
        choices=("table", "history"),
        help="a row a member, or a row for each round and member; table",
    )
    parser.add_argument(
        "--format",
        choices=(*ROWS, "optuna"),
        default="csv",
        help="csv; optuna is a study with a trial a member",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="instead of the terminal; for optuna a storage, which may hold other studies: SQLite "
        "where the name ends in .db, .sqlite or .sqlite3, a journal where it ends in .log",
    )
    parser.add_argument("--name", help="of Optuna's study; the folder's")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a file, or a study, that is there"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the rows, or the study.

    In CSV what is not finite is empty, in JSON it is null, in Parquet NaN is null. JSON lines and
    Parquet of the history also have the metrics that are no single numbers.

    Raises:
      OSError, ValueError, DamagedSweepError: see `opened`; arguments that do not go together.
      FileExistsError: the file, or the study, is there. ImportError: a library is not installed.
    """
    _check(arguments)
    if arguments.format == "optuna":
        return _study(arguments)
    if arguments.format == "parquet":
        from vtune.command.parquet import pyarrow_modules

        pyarrow_modules()  # before the sweep is read
    sweep = opened(arguments.folder)
    history = arguments.what == "history"
    if arguments.format == "parquet":
        _parquet(sweep, history, arguments.output, arguments.overwrite)
    else:
        _text(sweep, history, arguments)
    return FINE


def _check(arguments: argparse.Namespace) -> None:
    """Raises ValueError where arguments do not go together."""
    study = arguments.format == "optuna"
    if arguments.output is None and arguments.format in ("parquet", "optuna"):
        example = "study.log" if study else "table.parquet"
        raise ValueError(
            f"export: --format {arguments.format} is nothing for a terminal; "
            f"give a file, -o {example}"
        )
    if study and arguments.what is not None:
        raise ValueError(
            "export: --what is not for --format optuna: a study has both; leave it out"
        )
    if not study and arguments.name is not None:
        raise ValueError("export: --name is that of a study; give --format optuna, or leave it out")


def _text(sweep: Sweep, history: bool, arguments: argparse.Namespace) -> None:
    from vtune.command.rows import history_rows, table_rows

    names: list[str]
    rows: Any
    if history:
        names, rows = history_rows(sweep, arrays=arguments.format == "jsonl")
    else:
        names, rows = table_rows(sweep)
    with _target(arguments.output, arguments.overwrite) as file:
        if arguments.format == "csv":
            csv.writer(file, lineterminator="\n").writerows([names, *rows])
        else:
            for row in rows:
                entry = dict(zip(names, row, strict=True))
                file.write(json.dumps(entry, allow_nan=False) + "\n")


def _parquet(sweep: Sweep, history: bool, path: Path, overwrite: bool) -> None:
    from vtune.command.parquet import write
    from vtune.command.rows import typed_history, typed_table

    columns = typed_history(sweep) if history else typed_table(sweep)
    with _opened_for_writing(path, overwrite, "b") as file:
        write(columns, file)


def _study(arguments: argparse.Namespace) -> int:
    from vtune.studies.library import optuna_module
    from vtune.studies.storage import JOURNAL, SQLITE, close, target_of
    from vtune.studies.study import write

    path: Path = arguments.output
    name = shown(arguments.name or arguments.folder.resolve().name or "sweep")
    if path.suffix.lower() not in SQLITE + JOURNAL:
        raise ValueError(
            f"export: {path} must end in {', '.join(SQLITE)} (SQLite) or {JOURNAL[0]} (a journal)"
        )
    optuna = optuna_module("--format optuna")
    target = target_of(optuna, "export", path)  # before the sweep is read
    sweep = opened(arguments.folder)
    from vtune.studies.trials import exported

    study = exported(sweep)
    instead = "give --overwrite, or another --name"
    _, storage = write(optuna, study, target, name, arguments.overwrite, instead)
    close(storage)
    print(f'{shown(path)}: study "{name}", {len(study.trials):,} trials')
    return FINE


@contextlib.contextmanager
def _target(path: Path | None, overwrite: bool) -> Iterator[IO[str]]:
    """Opens what is written to."""
    if path is None:
        yield sys.stdout
        return
    with _opened_for_writing(path, overwrite, "", encoding="utf-8", newline="\n") as file:
        yield file


def _opened_for_writing(path: Path, overwrite: bool, kind: str, **options: Any) -> IO[Any]:
    """Opens a file.

    Raises:
      FileExistsError: it is there and not to be replaced.
    """
    try:
        return path.open(("w" if overwrite else "x") + kind, **options)
    except FileExistsError:
        raise FileExistsError(f"{path} is there already; give --overwrite, or another") from None
