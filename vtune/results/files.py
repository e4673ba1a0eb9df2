"""Saving and loading a sweep; `commit` says how the folder is laid out.

manifest.json   settings, space, names of the arrays, checksums
arrays.npz      histories and drawn values
weights/        every member's state, by Orbax
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from vtune.results import commit
from vtune.results.array_schema import check_arrays
from vtune.results.checkpoint_files import has_checkpoints, newest_checkpoint
from vtune.results.left_out import left_out
from vtune.results.manifest import Call, manifest_of, read_manifest, refusing
from vtune.results.migrate import FLAT, migrated_arrays
from vtune.results.paths import check_target, folder_of, make_folder, remove_empty, worded
from vtune.results.quiet import without_late_failures
from vtune.results.recorded_arrays import recorded_arrays
from vtune.results.schema import check_manifest
from vtune.results.states import named_leaves
from vtune.results.storage import (
    Arrays,
    DamagedError,
    checksum,
    read_arrays,
    read_weights,
    write_arrays,
    write_weights,
)
from vtune.results.trained import Trained
from vtune.saved_files import manifest_checksum
from vtune.validation import check_flag


def write(
    trained: Trained, path: str | os.PathLike, overwrite: bool = False, frozen: bool = True
) -> None:
    """Writes a sweep to a folder; see `Sweep.save`."""
    folder = folder_of("save", path)
    check_flag("save: overwrite", overwrite)
    check_flag("save: frozen", frozen)
    trained.check_whole()
    check_target(folder, overwrite)
    whole = _Whole.of(trained, missing={} if frozen else left_out(trained))
    new = make_folder("save", folder)
    try:
        with commit.lock(folder) as alone, without_late_failures():
            check_target(folder, overwrite)  # again: it may have been another's turn
            _commit(folder, whole, alone)
    except BaseException as error:
        remove_empty(new)
        if type(error) is OSError:  # of the system, such as a full disk
            raise worded(
                error, f"save: {folder} cannot be written; what it held is kept"
            ) from error
        raise


def write_finished(trained: Trained, folder: Path, call: Call, alone: bool) -> None:
    """Writes the sweep that a call made into the folder of its checkpoints, whose lock is held.

    Args:
      alone: as the lock says.
    """
    make_folder("checkpoint", folder)
    _commit(folder, _Whole.of(trained, call), alone)


class _Whole(NamedTuple):
    """All that is to be written of a sweep."""

    manifest: dict[str, Any]
    arrays: Arrays
    leaves: Arrays

    @classmethod
    def of(
        cls,
        trained: Trained,
        call: Call | None = None,
        missing: Mapping[str, list[str]] = MappingProxyType({}),
    ) -> _Whole:
        manifest = manifest_of(trained, call)
        arrays, leaves = recorded_arrays(trained), named_leaves(trained)
        manifest |= {"leaves": list(leaves), "left_out": dict(missing)}
        for number in missing:
            del arrays[f"init_from/{number}"]
        _check_readable(manifest, arrays)
        return cls(manifest, arrays, leaves)


def _commit(folder: Path, whole: _Whole, alone: bool) -> None:
    before = commit.current_parts(folder)
    commit.clean(folder, alone, before)
    with commit.new_parts(folder) as parts:
        _write_parts(parts, *whole)
        commit.commit(folder, parts, whole.manifest)
    commit.clean(folder, alone, before)


def _check_readable(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Raises ValueError where `read_saved` would refuse what is to be written."""
    try:
        read = json.loads(json.dumps(manifest))
        check_manifest(read)
        check_arrays(read, arrays)
    except ValueError as error:
        raise ValueError(
            f"save: this sweep could not be read again ({error}), so nothing was written; please "
            "report this, it is a fault in vtune"
        ) from error


def _write_parts(parts: Path, manifest: dict[str, Any], arrays: Arrays, leaves: Arrays) -> None:
    """Writes arrays and weights, adds to the manifest what is needed to read them, and reads them.

    Raises:
      ValueError: what was written is not what can be read.
    """
    manifest["parts"] = parts.name
    manifest["arrays"] = write_arrays(parts / commit.ARRAYS, arrays)
    write_weights(parts / commit.WEIGHTS, leaves)
    manifest["checksums"] = {"arrays": checksum(arrays), "weights": checksum(leaves)}
    manifest["checksums"]["manifest"] = manifest_checksum(manifest)
    try:
        _read_parts(parts, manifest)
    except DamagedError as error:
        raise ValueError(
            f"save: what was written cannot be read ({error}), so it was removed, and what the "
            "folder held is still there; see whether the disk is full"
        ) from error


class Saved(NamedTuple):
    """What a folder holds, checked and in the form of today.

    Attributes:
      leaves: of the members' states; None where they were not read.
    """

    folder: Path
    manifest: dict[str, Any]
    arrays: Arrays
    leaves: Arrays | None


def read_saved(folder: Path, weights: bool) -> Saved:
    """Reads what a folder holds: the sweep, or where it is not finished its last checkpoint.

    Args:
      weights: whether the members' states are read; of older formats they always are.

    Raises:
      FileNotFoundError: no such folder. ValueError: it holds no saved sweep, or a damaged one.
    """
    if has_checkpoints(folder) and not (folder / commit.MANIFEST).exists():
        found = newest_checkpoint(folder)
        if found is not None:  # else it was finished meanwhile
            return Saved(folder, found.manifest, found.arrays, found.leaves)
    manifest = read_manifest(folder)
    weights = weights or manifest["version"] <= FLAT
    try:
        arrays, leaves = _read_parts(commit.parts_folder(folder, manifest), manifest, weights)
    except DamagedError as error:
        if "parts" in manifest and commit.current_parts(folder) != manifest["parts"]:
            return read_saved(folder, weights)  # saved over while it was read
        raise ValueError(f"{folder}: damaged, {error}") from error
    with refusing(folder):
        arrays = migrated_arrays(manifest, arrays, leaves or {})
        check_arrays(manifest, arrays)
    return Saved(folder, manifest, arrays, leaves)


def _read_parts(
    parts: Path, manifest: dict[str, Any], weights: bool = True
) -> tuple[Arrays, Arrays | None]:
    """The arrays and the leaves of the members' states, by name.

    Raises:
      DamagedError: the files are not what was saved.
    """
    arrays = read_arrays(parts / commit.ARRAYS, manifest.get("arrays"))
    leaves = read_weights(parts / commit.WEIGHTS, manifest["leaves"]) if weights else None
    for name, part in (("arrays", arrays), ("weights", leaves)):
        if part is not None and checksum(part) != manifest["checksums"].get(name):
            raise DamagedError(f"the {name} are not what was saved")
    return arrays, leaves
