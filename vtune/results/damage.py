"""What is damaged in the folder of a sweep."""

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
    """Returns what is wrong with the files of a saved sweep, or else with each of its checkpoints;
    an empty list where all are as they were written.

    Raises:
      OSError: a file cannot be read, which is no damage.
    """
    if not (folder / commit.MANIFEST).exists():
        return list(_of_checkpoints(folder))
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return [_without(folder, error)]
    found = list(_of_parts(folder, manifest))
    if not found:
        try:
            read(folder)
        except ValueError as error:
            found.append(_without(folder, error))
    return found


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


def _of_checkpoints(folder: Path) -> Iterator[str]:
    for path in checkpoints(folder):
        try:
            read_checkpoint(read_header(path))
        except DamagedError as error:
            yield f"checkpoint {path.name}: damaged, {error}"
        except ValueError as error:
            yield f"checkpoint {path.name}: {_without(path, error)}"


def _without(folder: Path, error: ValueError) -> str:
    """An error's text without the folder, which is said besides."""
    return str(error).removeprefix(f"{folder}: ").removeprefix(f"{folder} ")
