"""`Sweep.report`: the page of a sweep as a file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from vtune.report.page import page
from vtune.results.paths import folder_of, make_folder, remove_empty, worded
from vtune.results.sweep import Sweep
from vtune.validation import check_flag


def write(sweep: Sweep, path: Any, overwrite: bool = False) -> Path:
    """Writes the file and returns where it is; see `Sweep.report`."""
    target = folder_of("report", path, "file", "runs/first.html")
    check_flag("report: overwrite", overwrite)
    _check_target(target, overwrite)
    text = page(sweep)
    new = make_folder("report", target.parent)
    try:
        _replace(target, text.encode())
    except OSError as error:
        remove_empty(new)
        raise worded(error, f"report: {target} cannot be written") from None
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    """Raises OSError where a file cannot be, or one is that is not to be written over."""
    try:
        if target.is_dir():
            raise IsADirectoryError(
                f"report: {target} is a folder; give the name of a file, such as "
                f"{target / 'report.html'}"
            )
        there = target.exists() or target.is_symlink()
    except IsADirectoryError:
        raise
    except OSError as error:
        raise worded(error, f"report: {target} cannot be looked into") from None
    if there and not overwrite:
        raise FileExistsError(
            f"report: {target} is there already; give overwrite=True or another name"
        )
    above = next(folder for folder in target.parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"report: {above} is a file, so {target} cannot be in it")


def _replace(target: Path, content: bytes) -> None:
    """Writes beside the target and then takes its place, so that nobody sees half a page."""
    beside = target.parent / f".vtune-report-{secrets.token_hex(8)}.part"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
