"""Saving and loading a sweep; `commit` says how the folder is laid out.

manifest.json   settings, space, names of the arrays, checksums
arrays.npz      histories and drawn values
weights/        every member's state, by Orbax
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtune.learner.pretrained import paths
from vtune.results import commit
from vtune.results.manifest import manifest_checksum, manifest_of, read_manifest, refusing
from vtune.results.migrate import FLAT, migrated_arrays
from vtune.results.paths import check_target, folder_of, make_folder
from vtune.results.refiners import named_memories
from vtune.results.schema import check_arrays, check_manifest
from vtune.results.states import named_leaves, named_members
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
from vtune.validation import check_flag


def write(trained: Trained, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Writes a sweep to a folder; see `Sweep.save`."""
    folder = folder_of("save", path)
    check_flag("save: overwrite", overwrite)
    trained.check_whole()
    check_target(folder, overwrite)
    manifest = manifest_of(trained)
    arrays, leaves = _named_arrays(trained), named_leaves(trained)
    manifest["leaves"] = list(leaves)
    _check_readable(manifest, arrays)
    new = make_folder(folder)
    try:
        with commit.lock(folder) as alone:
            check_target(folder, overwrite)  # again: it may have been another's turn
            before = commit.current_parts(folder)
            commit.clean(folder, alone, before)
            with commit.new_parts(folder) as parts:
                _write_parts(parts, manifest, arrays, leaves)
                commit.commit(folder, parts, manifest)
            commit.clean(folder, alone, before)
    except BaseException:
        for made in new:  # those that are empty
            with contextlib.suppress(OSError):
                made.rmdir()
        raise


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
    """Reads what a folder holds.

    Args:
      weights: whether the members' states are read; of older formats they always are.

    Raises:
      FileNotFoundError: no such folder. ValueError: it holds no saved sweep, or a damaged one.
    """
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


def _named_arrays(trained: Trained) -> Arrays:
    """Everything of arrays.npz, by name."""
    records = trained.records
    arrays = {f"history/{name}": values for name, values in records.history.items()}
    arrays |= {f"settings/{name}": values for name, values in records.settings.items()}
    arrays |= {name: getattr(records, name) for name in ("parents", "ends", "stopped", "budgets")}
    for i, leaf in enumerate(paths(trained.weights).values()):
        arrays[f"init_from/{i}"] = np.asarray(leaf)
    for name, (shift, factor) in trained.scaling.items():
        arrays |= {f"scaling/{name}/shift": shift, f"scaling/{name}/factor": factor}
    arrays |= named_members(trained) | named_memories(trained)
    for number, cohort in enumerate(trained.cohorts):
        arrays[f"cohort{number}/id"] = cohort.id
        for name, values in cohort.hparams.items():
            arrays[f"cohort{number}/hparams/{name}"] = values
    return arrays
