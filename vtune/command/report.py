"""`python -m vtune report`: a sweep as one page of HTML."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vtune.command.opened import add_folder, opened
from vtune.command.output import FINE, shown, size_text


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser("report", help="a sweep as one page of HTML, with pictures")
    add_folder(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="report.html in the folder of the sweep"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the page and says where it is.

    Raises:
      OSError, ValueError, DamagedSweepError: see `opened`. FileExistsError: the file is there.
      ImportError: matplotlib is not installed.
    """
    target: Path = arguments.output or arguments.folder / "report.html"
    if target.exists() and not arguments.overwrite:
        raise FileExistsError(f"{target} is there already; give --overwrite, or another")
    sweep = opened(arguments.folder)
    from vtune.report.file import write

    written = write(sweep, target, arguments.overwrite)
    print(f"{shown(written)}, {size_text(written.stat().st_size)}")
    return FINE
