"""A sweep that a command is given, read without its learner."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vtune.command.output import DamagedSweepError
from vtune.saved_files import brief, is_sweep

if TYPE_CHECKING:
    from vtune.results import Sweep


def opened(folder: Path) -> Sweep:
    """Returns the results of a sweep, of one that still runs those of its last checkpoint.

    Raises:
      OSError: the folder is not there, or cannot be read. ValueError: it holds no sweep, or none
        yet. DamagedSweepError: it holds one that cannot be read.
    """
    if not is_sweep(folder):
        raise ValueError(f"{folder} holds no sweep; give a folder that `ls` lists")
    about = brief(folder)
    if about.rounds is None and about.damage is None:
        raise ValueError(f"{folder}: its sweep has not written a checkpoint yet; try again later")
    from vtune.results import read

    try:
        return read(folder)
    except ValueError as error:
        raise DamagedSweepError(str(error)) from None


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Describes the folder of one sweep to argparse."""
    parser.add_argument("folder", type=Path, help="of a sweep, finished or not")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Describes `--json` to argparse."""
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")


def whole_number(text: str) -> int:
    """Returns the number, 1 or more, that an argument is; argparse says where it is none."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 1 or more")
    return int(text)
