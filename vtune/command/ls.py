"""`python -m vtune ls`: one line for each sweep in a folder and below it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vtune.aligned import aligned
from vtune.command.opened import add_json
from vtune.command.output import DAMAGED, FINE, json_text, one_line, said_of, shown, size_text
from vtune.saved_files import Brief, brief, sweeps_below

HEAD = ("sweep", "state", "members", "best", "date", "size")


def add(commands: Any) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser("ls", help="one line for each sweep in a folder and below it")
    parser.add_argument("folder", nargs="?", default=".", type=Path, help="where to look; here")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Lists the sweeps. Some that are damaged, or folders that cannot be read, make the exit code
    1.

    Raises:
      OSError: the folder is not there, or cannot be read.
    """
    folder: Path = arguments.folder
    failed: list[OSError] = []
    briefs = []
    next(folder.iterdir(), None)
    for sweep in sweeps_below(folder, failed):
        try:
            briefs.append(brief(sweep))
        except OSError as error:
            failed.append(error)
    if arguments.json:
        print(json_text([_entry(one, folder) for one in briefs]))
    elif briefs:
        print(aligned([HEAD, *(_row(one, folder) for one in briefs)], right=(2, 5)))
    for failure in failed:
        print(f"vtune: {one_line(said_of(failure))}", file=sys.stderr)
    for one in briefs:
        if one.damage is not None:
            print(f"vtune: {shown(one.folder)}: damaged, {one_line(one.damage)}", file=sys.stderr)
    if not briefs and not failed:
        print(f"vtune: there is no sweep in {shown(folder)}", file=sys.stderr)
    damaged = any(one.state == "damaged" for one in briefs)
    return DAMAGED if failed or damaged else FINE


def _entry(one: Brief, root: Path) -> dict[str, Any]:
    return {"name": _name(one, root), **one._asdict(), "folder": str(one.folder)}


def _row(one: Brief, root: Path) -> tuple[str, ...]:
    return (
        shown(_name(one, root)),
        _state(one),
        "-" if one.members is None else f"{one.members:,}",
        "-" if one.best is None else shown(f"{one.metric} {one.best:.4g}"),
        "-" if one.date is None else shown(one.date[:16].replace("T", " ")),
        size_text(one.bytes),
    )


def _name(one: Brief, root: Path) -> str:
    """The folder as seen from where was looked; its own name where that is it."""
    name = str(one.folder.relative_to(root))
    return (one.folder.resolve().name or str(one.folder)) if name == "." else name


def _state(one: Brief) -> str:
    if one.state in ("finished", "damaged") or one.rounds is None:
        return shown(one.state)
    return shown(f"{one.state}, round {one.round} of {one.rounds}")
