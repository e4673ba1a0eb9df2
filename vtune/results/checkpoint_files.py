"""Checkpoints of a run that is not finished: what its program carries, and the sweep so far.

folder/vtune-checkpoints/<rounds>/arrays/    the leaves of the carry, and what `arrays.npz` of a
                                             saved sweep holds, by Orbax
                                  manifest/  that sweep's manifest, and checksums, as JSON
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from vtune.engine.plan import Plan, Stopping
from vtune.results.array_schema import check_arrays, first_id
from vtune.results.manifest import Call, checked_manifest, manifest_of, refusing
from vtune.results.quiet import unlogged
from vtune.results.recorded_arrays import recorded_arrays
from vtune.results.schema import check_entries
from vtune.results.states import state_leaves, states_held
from vtune.results.storage import (
    Arrays,
    DamagedError,
    checksum,
    named,
    numbered,
    one_process,
    read_tree,
)
from vtune.results.trained import Trained
from vtune.runtime.notices import warn
from vtune.saved_files import CHECKPOINT_FORMAT as FORMAT
from vtune.saved_files import CHECKPOINT_MANIFEST as MANIFEST
from vtune.saved_files import CHECKPOINTS as FOLDER
from vtune.saved_files import manifest_checksum
from vtune.validation import is_whole

T = TypeVar("T")

VERSION = 1
ARRAYS = "arrays"


class Header(NamedTuple):
    """What a checkpoint says of itself, checked but for its arrays.

    Attributes:
      manifest: of the sweep so far. rounds: that were run.
      entries: of the arrays, see `storage.numbered`. states: name -> leaf of the carry.
      position: where a stream of batches stood; None of other data.
    """

    path: Path
    manifest: dict[str, Any]
    rounds: int
    entries: list[dict[str, Any]]
    states: dict[str, int]
    checksum: str
    position: Any = None


class Found(NamedTuple):
    """A checkpoint that was read.

    Attributes:
      carry: its leaves, keys as words. manifest, arrays, leaves: of the sweep so far, as a saved
        one has them.
    """

    rounds: int
    carry: list[np.ndarray]
    manifest: dict[str, Any]
    arrays: Arrays
    leaves: Arrays
    position: Any = None


def has_checkpoints(folder: Path) -> bool:
    """Whether a run keeps, or kept, its checkpoints in this folder."""
    with contextlib.suppress(OSError):
        return (folder / FOLDER).is_dir()
    return False


def write_checkpoint(
    folder: Path,
    trained: Trained,
    carry: list[np.ndarray],
    structure: Any,
    call: Call,
    keep: int,
    position: Any = None,
) -> None:
    """Writes a checkpoint, and removes all but the last `keep`; whole or not at all.

    Args:
      trained: the sweep so far. carry: leaves, keys as words. structure: the carry's.
      position: where a stream of batches stands, as JSON.
    """
    import orbax.checkpoint as ocp  # slow to import, only for files

    manifest = manifest_of(trained, call)
    states = _places(trained.plan, structure)
    manifest["leaves"] = list(states)
    arrays = {f"carry/{i}": leaf for i, leaf in enumerate(carry)} | recorded_arrays(trained)
    entries, stored = numbered(arrays)
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "rounds": trained.rounds,
        "sweep": manifest,
        "arrays": entries,
        "states": states,
        "checksums": {"arrays": checksum(arrays)},
    }
    if position is not None:
        header["position"] = position
    header["checksums"]["manifest"] = manifest_checksum(header)
    stored = {number: array for number, array in stored.items() if array.size}  # Orbax refuses
    alone = one_process()
    options = ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True,
        preservation_policy=ocp.checkpoint_managers.LatestN(keep),
        **({} if alone is None else {"multiprocessing_options": alone, "create": False}),
    )
    root = (folder / FOLDER).resolve()
    root.mkdir(exist_ok=True)
    with unlogged(), ocp.CheckpointManager(root, options=options) as manager:
        manager.save(
            trained.rounds,
            args=ocp.args.Composite(
                **{ARRAYS: ocp.args.StandardSave(stored), MANIFEST: ocp.args.JsonSave(header)}
            ),
        )
        manager.wait_until_finished()


def _places(plan: Plan, structure: Any) -> dict[str, int]:
    """Returns by name which leaf of the carry is a leaf of the members' states."""
    places: dict[str, int] = {}
    carries: Any = jax.tree.unflatten(structure, range(structure.num_leaves))
    for number, carry in enumerate(carries):
        population = carry.population
        held = population.best if plan.keeps_best else population
        places |= state_leaves(number, held.state)
    return places


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints that were written to their end, the newest first."""
    import orbax.checkpoint as ocp

    if not has_checkpoints(folder):
        return []
    steps = ocp.utils.checkpoint_steps((folder / FOLDER).resolve())
    return [folder / FOLDER / str(step) for step in sorted(steps, reverse=True)]


def remove_checkpoints(folder: Path) -> None:
    """Removes all checkpoints; failing to is no fault of the run."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def newest_checkpoint(folder: Path) -> Found | None:
    """Returns the newest checkpoint that can be read; None where there is none any more.

    Raises:
      ValueError: none of those that are there can be read, or they are of something else.
    """
    while True:
        paths = checkpoints(folder)
        found, damaged = newest_readable(paths, lambda path: read_checkpoint(read_header(path)))
        if found is not None:
            for path, damage in damaged:
                warn(
                    f"{path}: damaged, {damage}; read is the one of round {found.rounds} before it"
                )
            return found
        if paths == checkpoints(folder):  # else a running sweep has replaced them meanwhile
            break
    if damaged:
        raise ValueError("; ".join(f"{path}: damaged, {damage}" for path, damage in damaged))
    if has_checkpoints(folder):
        raise ValueError(f"{folder}: its sweep has not written a checkpoint yet; try again later")
    return None


def newest_readable(
    paths: Iterable[Path], reader: Callable[[Path], T]
) -> tuple[T | None, list[tuple[Path, DamagedError]]]:
    """Returns what is read of the first checkpoint that is not damaged, from which a run goes on,
    and the damaged ones before it; None where all are damaged, or there are none.

    Args:
      paths: the newest first.

    Raises:
      ValueError: of the reader, other than a DamagedError.
    """
    damaged: list[tuple[Path, DamagedError]] = []
    for path in paths:
        try:
            return reader(path), damaged
        except DamagedError as error:
            damaged.append((path, error))
    return None, damaged


def read_header(path: Path) -> Header:
    """Reads what a checkpoint says of itself.

    Raises:
      DamagedError: it is not what was written. ValueError: it is of something else, or of a newer
        version.
    """
    try:
        header = json.loads((path / MANIFEST / "metadata").read_text())
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"its manifest cannot be read ({error})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of vtune's")
    version: Any = header.get("version")
    if is_whole(version) and version > VERSION:
        raise ValueError(f"{path} was written by a newer vtune; upgrade vtune to read it")
    sums = header.get("checksums")
    if not isinstance(sums, dict) or sums.get("manifest") != manifest_checksum(header):
        raise DamagedError("its manifest is not what was written")
    manifest = checked_manifest(path, header.get("sweep"))
    with refusing(path):
        check_entries(header)
    return Header(
        path,
        manifest,
        rounds=header["rounds"],
        entries=header["arrays"],
        states=header["states"],
        checksum=str(sums.get("arrays")),
        position=header.get("position"),
    )


def read_checkpoint(header: Header) -> Found:
    """Reads a whole checkpoint.

    Raises:
      DamagedError: its arrays are not what was written. ValueError: they do not fit each other.
    """
    arrays = named("arrays", header.entries, read_tree(header.path / ARRAYS))
    if checksum(arrays) != header.checksum:
        raise DamagedError("the arrays are not what was written")
    names = [name for name in arrays if name.startswith("carry/")]
    with refusing(header.path):
        if names != [f"carry/{i}" for i in range(len(names))]:
            raise ValueError(f"the leaves {names}")
        carry = [arrays.pop(name) for name in names]
        check_arrays(header.manifest, arrays)
        leaves, stopping = {}, header.manifest["stopping"]
        keeps_best = stopping is not None and Stopping(*stopping).keep == "best"
        for name, place in header.states.items():
            if not 0 <= place < len(carry) or not carry[place].ndim:
                raise ValueError(f"states: {name!r} in {place}")
            columns = arrays[f"cohort{_cohort(name)}/id"] - first_id(header.manifest, arrays)
            leaves[name] = carry[place][: states_held(keeps_best, columns, arrays["parents"])]
    leaves = {name: leaf for name, leaf in leaves.items() if leaf.size}
    return Found(header.rounds, carry, header.manifest, arrays, leaves, header.position)


def _cohort(name: str) -> str:
    return name.partition("/")[0]
