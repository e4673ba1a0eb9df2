"""Where sweeps are saved: checks of the path, with a sentence for whatever a system would say."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vtune.results.commit import RunExistsError, is_leftover
from vtune.results.manifest import is_saved_sweep
from vtune.validation import is_remote


def folder_of(caller: str, path: Any, what: str = "folder", example: str = "runs/first") -> Path:
    """Returns the folder that a user means; `~` is the home folder.

    Args:
      what: "file" where a file is meant. example: of a path, for the messages.

    Raises:
      TypeError, ValueError: this is no name of a folder on this machine.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(
            f'{caller}: path must be the name of a {what}, got {path!r}; write "{example}"'
        )
    name = os.fsdecode(path)
    if name.startswith("file:"):
        raise ValueError(
            f"{caller}: {name!r} is an address; write the {what}'s path, without file://"
        )
    if is_remote(name):
        raise ValueError(
            f"{caller}: {name!r} is not on this machine, and vtune reads and writes local folders "
            "only; save to a local one and copy it there"
        )
    unwritable = what == "folder" and not _is_text(name)
    if not name or "\0" in name or unwritable:
        raise ValueError(f'{caller}: {name!r} cannot be the name of a {what}; write "{example}"')
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # no such user, or no home
        raise ValueError(f"{caller}: {name!r}: {error}; write the whole path") from None


def _is_text(name: str) -> bool:
    """Whether a name can be written in UTF-8, as Orbax wants it of a folder."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises where saving would write over something, or where no folder can be.

    Raises:
      RunExistsError: the folder holds something. OSError: it cannot be made or looked into.
    """
    try:
        if not folder.exists():
            if not folder.is_symlink():
                return
            raise RunExistsError(
                f"{folder} is a link to {os.readlink(folder)}, which is not there; make that "
                "folder, or choose another"
            )
        if folder.is_dir() and all(map(is_leftover, folder.iterdir())):
            return
    except RunExistsError:
        raise
    except OSError as error:
        raise worded(error, f"save: {folder} cannot be looked into") from None
    if not (folder.is_dir() and is_saved_sweep(folder)):
        raise RunExistsError(f"{folder} exists and is not a saved sweep; choose another folder")
    if not overwrite:
        raise RunExistsError(
            f"{folder} holds a saved sweep already; give overwrite=True or another folder"
        )


def make_folder(caller: str, folder: Path) -> list[Path]:
    """Makes a folder and those above it, and returns the ones that are new, the deepest first."""
    new = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(0, "Permission denied")
    except OSError as error:
        raise worded(error, f"{caller}: {folder} cannot be made or written to") from None
    return new


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes those of the folders that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def worded(error: OSError, sentence: str) -> OSError:
    """Returns an error of the same class that says what was tried."""
    return type(error)(f"{sentence} ({error.strerror or error}); choose another folder")
