"""`python -m vtune check`: whether sweeps are as they were written, and whether they can go on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtune.command.opened import add_json
from vtune.command.output import DAMAGED, FINE, json_text, one_line, shown
from vtune.saved_files import MANIFEST, sweeps_below

if TYPE_CHECKING:
    from vtune.tuning.checkpoints.outlook import Outlook


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser(
        "check", help="whether sweeps are as they were written, and can go on"
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="folder", help="of a sweep, or with sweeps in it"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reads all files of the sweeps and compares them with their checksums. Damage makes the exit
    code 1. Also says whether a run can go on, and if not, why.

    Raises:
      OSError: a folder is not there, or cannot be read. ValueError: it holds no sweep.
    """
    folders = dict.fromkeys(f for folder in arguments.folders for f in _sweeps(folder))
    looked = {folder: _look(folder) for folder in folders}
    if arguments.json:
        print(json_text([_entry(folder, *found) for folder, found in looked.items()]))
    else:
        for folder, found in looked.items():
            for line in _lines(*found):
                print(f"{shown(folder)}: {one_line(line)}")
    return DAMAGED if any(damages for damages, _ in looked.values()) else FINE


def _look(folder: Path) -> tuple[list[str], Outlook]:
    """Returns what is wrong with a sweep, and whether it can go on."""
    from vtune.results.damage import checkpoint_errors, damages, said_of_checkpoint
    from vtune.tuning.checkpoints.outlook import outlook, outlook_of_saved

    if (folder / MANIFEST).exists():
        said = damages(folder)
        return said, outlook_of_saved(folder, said)
    errors = checkpoint_errors(folder)
    said = [said_of_checkpoint(path, error) for path, error in errors.items() if error is not None]
    return said, outlook(folder, errors)


def _lines(damages: list[str], coming: Outlook) -> list[str]:
    lines = [*damages, coming.why] if damages else [f"fine; {coming.why}"]
    if coming.differs:
        lines.append(f"goes on with a warning, {'; '.join(coming.differs)}")
    return lines


def _entry(folder: Path, damages: list[str], coming: Outlook) -> dict[str, Any]:
    return {"folder": str(folder), "damages": damages, "outlook": coming._asdict()}


def _sweeps(folder: Path) -> list[Path]:
    failed: list[OSError] = []
    found = list(sweeps_below(folder, failed))
    if failed:
        raise failed[0]
    if not found:
        raise ValueError(f"there is no sweep in {folder}")
    return found
