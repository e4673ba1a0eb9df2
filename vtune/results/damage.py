"""What is damaged in the folder of a sweep: of a saved one, or of its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vtune.results import commit
from vtune.results.checkpoint_files import checkpoints, read_checkpoint, read_header
from vtune.results.load import read
from vtune.results.manifest import read_manifest
from vtune.results.storage import Arrays, DamagedError, checksum, read_arrays, read_weights


def damages(folder: Path) -> list[str]:
    """Returns what is wrong with the files of a saved sweep; an empty list where all are as they
    were written.

    Raises:
      OSError: a file cannot be read, which is no damage.
    """
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return [_without(folder, error)]
    wrong = list(_of_parts(folder, manifest))
    if not wrong:
        try:
            read(folder)
        except ValueError as error:
            wrong.append(_without(folder, error))
    return wrong


def _of_parts(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    parts = commit.parts_folder(folder, manifest)
    readers: dict[str, Callable[[], Arrays]] = {
        "arrays": lambda: read_arrays(parts / commit.ARRAYS, manifest.get("arrays")),
        "weights": lambda: read_weights(parts / commit.WEIGHTS, manifest["leaves"]),
    }
    for name, reader in readers.items():
        try:
            if checksum(reader()) != manifest["checksums"].get(name):
                yield f"damaged, the {name} are not what was saved"
        except DamagedError as error:
            yield f"damaged, {error}"


def checkpoint_errors(folder: Path) -> dict[Path, ValueError | None]:
    """Returns why each checkpoint of a run cannot be read, the newest first; None where it can.

    Raises:
      OSError: a file cannot be read, which is no damage.
    """
    found: dict[Path, ValueError | None] = {}
    for path in checkpoints(folder):
        try:
            read_checkpoint(read_header(path))
            found[path] = None
        except ValueError as error:
            if path.exists():  # else the sweep, which runs, has replaced it meanwhile
                found[path] = error
    return found


def said_of_checkpoint(path: Path, error: ValueError) -> str:
    """Returns what is wrong with a checkpoint, in words."""
    kind = "damaged, " if isinstance(error, DamagedError) else ""
    return f"checkpoint {path.name}: {kind}{_without(path, error)}"


def _without(folder: Path, error: ValueError) -> str:
    """An error's text without the folder, which is said besides."""
    return str(error).removeprefix(f"{folder}: ").removeprefix(f"{folder} ")
