"""How a sweep lies on the disk: the names of its files, and what can be told of it without JAX.

Imports nothing of vtune, so that listing many sweeps takes no longer than reading their JSON.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

MANIFEST, ARRAYS, WEIGHTS = "manifest.json", "arrays.npz", "weights"
CHECKPOINTS = "vtune-checkpoints"
CHECKPOINT_MANIFEST = "manifest"
LOCK = ".vtune-lock"
FORMAT, CHECKPOINT_FORMAT = "vtune sweep", "vtune checkpoint"
PARTS_NAME = re.compile(r"parts-[0-9a-f]{16}")
_HOLDER = re.compile(r"process (\d+) on (.+)")


class Brief(NamedTuple):
    """What a folder says of its sweep.

    Attributes:
      state: "finished"; "running"; "interrupted", "timeout" or "stopped" where it ended early;
        "damaged", and then the rest is None but for the date and the bytes.
      round: how many rounds were run of those that are planned, `rounds`.
      best: the value of the metric, and `member` the one that has it; None where no member has a
        finite score, or the file is of a version that did not note it.
      date: when it was written, in UTC, as ISO 8601 has it. bytes: of all files in the folder.
      damage: what is wrong.
    """

    folder: Path
    state: str
    round: int | None = None
    rounds: int | None = None
    members: int | None = None
    metric: str | None = None
    mode: str | None = None
    best: float | None = None
    member: int | None = None
    date: str | None = None
    bytes: int = 0
    damage: str | None = None


class _DamagedError(ValueError):
    """A manifest is not what was written."""


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Returns the checksum of everything in a manifest but its checksums."""
    body = {name: value for name, value in manifest.items() if name != "checksums"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def holder(folder: Path) -> tuple[int, str] | None:
    """Returns the process that holds a folder and its machine, as its lock says; None where there
    is no lock. A process that was killed leaves its lock there."""
    try:
        found = _HOLDER.fullmatch((folder / LOCK).read_text().strip())
    except (OSError, ValueError):
        return None
    return None if found is None else (int(found[1]), found[2])


def is_held(folder: Path) -> bool:
    """Whether a process that is alive holds a folder. One of another machine counts as alive.

    The lock itself is not tried: a run that begins at that moment would find it taken.
    """
    found = holder(folder)
    if found is None:
        return False
    process, machine = found
    if machine != socket.gethostname() or os.name != "posix":  # elsewhere signal 0 ends a process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def is_sweep(folder: Path) -> bool:
    """Whether a folder holds a sweep of vtune's: saved, running, interrupted or damaged.

    Raises:
      OSError: it cannot be looked into.
    """
    names = set(os.listdir(folder))
    if CHECKPOINTS in names and (folder / CHECKPOINTS).is_dir():
        return True
    if MANIFEST not in names:
        return False
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (ValueError, RecursionError):
        return ARRAYS in names or any(map(PARTS_NAME.fullmatch, names))
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def sweeps_below(folder: Path, failed: list[OSError]) -> Iterator[Path]:
    """Yields the folders of sweeps in a folder and below it, by name; the folder itself, too.

    Args:
      failed: takes what could not be looked into.
    """
    for root, names, _ in os.walk(folder, onerror=failed.append):
        names.sort()
        try:
            found = is_sweep(Path(root))
        except OSError as error:
            failed.append(error)
            continue
        if found:
            names.clear()  # its parts are no sweeps
            yield Path(root)


def brief(folder: Path) -> Brief:
    """Returns what the folder of a sweep says of it.

    Raises:
      OSError: it cannot be read.
    """
    size, written = _size(folder)
    about = Brief(folder, "damaged", date=written, bytes=size)
    try:
        if not (folder / MANIFEST).exists():
            return _of_checkpoints(about)
        manifest = _read(folder / MANIFEST, FORMAT)
        state, done = manifest.get("stopped", "interrupted"), _rounds_done(manifest)
        return _filled(about, manifest, "finished" if done == manifest["rounds"] else state, done)
    except FileNotFoundError:
        if (folder / MANIFEST).exists():  # it was finished meanwhile
            return brief(folder)
        raise
    except _DamagedError as error:
        return about._replace(damage=str(error))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return about._replace(damage=f"{MANIFEST} is not as a save writes it ({error!r})")


def _of_checkpoints(about: Brief) -> Brief:
    """Returns what the newest checkpoint that can be read says."""
    folder = about.folder / CHECKPOINTS
    held = is_held(about.folder)
    numbers = _numbers(folder)
    damages = []
    for number in numbers:
        file = folder / str(number) / CHECKPOINT_MANIFEST / "metadata"
        try:
            header = _read(file, CHECKPOINT_FORMAT)
        except (_DamagedError, FileNotFoundError) as error:
            damages.append(f"checkpoint {number}: {error}")
            continue
        state = "running" if held else "interrupted"
        return _filled(about, header["sweep"], state, header["rounds"])
    if numbers != _numbers(folder):  # the sweep, which runs, has replaced them meanwhile
        return _of_checkpoints(about)
    if damages:
        raise _DamagedError("; ".join(damages))
    return about._replace(state="running" if held else "interrupted", round=0)


def _numbers(folder: Path) -> list[int]:
    """Returns the rounds of the checkpoints, the newest first."""
    return sorted((int(name) for name in os.listdir(folder) if name.isdecimal()), reverse=True)


def _filled(about: Brief, manifest: dict[str, Any], state: Any, done: Any) -> Brief:
    best = manifest.get("best") or {}
    identity = manifest.get("identity") or {}
    return about._replace(
        state=str(state),
        round=None if done is None else int(done),
        rounds=int(manifest["rounds"]),
        members=sum(int(cohort["rungs"][0][0]) for cohort in manifest["cohorts"]),
        metric="score" if manifest["metric"] is None else str(manifest["metric"]),
        mode=str(manifest["mode"]),
        best=None if not best else float(best["score"]),
        member=None if not best else int(best["member"]),
        date=str(identity.get("date") or about.date),
    )


def _rounds_done(manifest: dict[str, Any]) -> int | None:
    """How many rounds a saved sweep was run for; as many as planned where an older version does
    not say."""
    for entry in manifest.get("arrays") or ():
        if entry["name"] == "parents":
            return int(entry["shape"][0])
    return int(manifest["rounds"])


def _read(file: Path, kind: str) -> dict[str, Any]:
    """Reads a manifest.

    Raises:
      _DamagedError: it does not parse, or is not what was written.
    """
    try:
        manifest = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"{file.name} does not parse ({error})") from None
    sums = manifest.get("checksums") if isinstance(manifest, dict) else None
    if not isinstance(sums, dict) or manifest.get("format") != kind:
        raise _DamagedError(f"{file.name} is not what was written")
    if sums.get("manifest") != manifest_checksum(manifest):
        raise _DamagedError(f"{file.name} is not what was written")
    return dict(manifest)


def _size(folder: Path) -> tuple[int, str | None]:
    """Returns the bytes of all files in a folder, and when the last of them was written."""
    size, newest = 0, None
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(root, name))
            except OSError:  # a checkpoint that was replaced meanwhile
                continue
            if stat.S_ISREG(found.st_mode):
                size += found.st_size
                newest = max(newest or 0.0, found.st_mtime)
    if newest is None:
        return size, None
    when = datetime.datetime.fromtimestamp(newest, datetime.UTC)
    return size, when.isoformat(timespec="seconds")
