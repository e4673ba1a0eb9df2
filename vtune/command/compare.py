"""`python -m vtune compare`: the best members of several sweeps side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtune.command.opened import add_json, opened
from vtune.command.output import DAMAGED, FINE, json_text, shown


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser(
        "compare", help="the best members of sweeps, with intervals and tests"
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="folder", help="two or more")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals; 0.95")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes what `vt.compare` returns. Sweeps that cannot be compared make the exit code 1.

    Raises:
      OSError, ValueError, DamagedSweepError: see `opened` and `vt.compare`.
    """
    folders: list[Path] = arguments.folders
    if len(folders) < 2:
        raise ValueError("compare: give two folders or more")
    sweeps = {name: opened(f) for name, f in zip(_names(folders), folders, strict=True)}
    from vtune.results import compare

    comparison = compare(sweeps, confidence=arguments.confidence)
    if arguments.json:
        rows = [row._asdict() for row in comparison.rows.values()]
        print(json_text({"best": comparison.best, "sweeps": rows}))
    else:
        print("\n".join(map(shown, repr(comparison).splitlines())))
    return FINE if comparison.comparable else DAMAGED


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the folders' own names; their paths where some are alike.

    Raises:
      ValueError: a folder is given twice.
    """
    for names in ([folder.name for folder in folders], list(map(str, folders))):
        if len(set(names)) == len(names) and all(names):
            return names
    raise ValueError("compare: a folder is given twice")
