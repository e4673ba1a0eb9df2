"""`python -m vtune check`: whether sweeps are as they were written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vtune.command.opened import add_json
from vtune.command.output import DAMAGED, FINE, json_text, one_line, shown
from vtune.saved_files import sweeps_below


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser("check", help="whether sweeps are as they were written")
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="folder", help="of a sweep, or with sweeps in it"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reads all files of the sweeps and compares them with their checksums. Damage makes the exit
    code 1.

    Raises:
      OSError: a folder is not there, or cannot be read. ValueError: it holds no sweep.
    """
    found = [sweep for folder in arguments.folders for sweep in _sweeps(folder)]
    from vtune.results.damage import damages

    damaged = {sweep: damages(sweep) for sweep in dict.fromkeys(found)}
    if arguments.json:
        print(json_text([{"folder": str(f), "damages": said} for f, said in damaged.items()]))
    else:
        for sweep, said in damaged.items():
            for damage in said or ["fine"]:
                print(f"{shown(sweep)}: {one_line(damage)}")
    return DAMAGED if any(damaged.values()) else FINE


def _sweeps(folder: Path) -> list[Path]:
    failed: list[OSError] = []
    found = list(sweeps_below(folder, failed))
    if failed:
        raise failed[0]
    if not found:
        raise ValueError(f"there is no sweep in {folder}")
    return found
