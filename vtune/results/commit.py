"""One commit: what a save writes takes the place of what was there, whole or not at all.

folder/manifest.json     says which parts are the sweep's; replacing this one file is the commit
folder/parts-<number>/   arrays.npz and weights/; every save makes a folder of its own
folder/.vtune-lock       held while somebody saves

All is written inside the folder itself, since its parent may be another's or another file system.
A save that is killed leaves parts that no manifest names, and the next save removes them.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vtune.saved_files import ARRAYS, LOCK, MANIFEST, PARTS_NAME, WEIGHTS

fcntl: Any = None
with contextlib.suppress(ImportError):  # Windows has none
    fcntl = importlib.import_module("fcntl")

_OVER_FLAT = "replaces-a-flat-layout"  # older formats have the parts beside the manifest
_NO_LOCKS_HERE = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class RunExistsError(FileExistsError, ValueError):
    """Saving would write over something."""


def is_parts_name(name: Any) -> bool:
    """Whether a folder of parts may have this name."""
    return isinstance(name, str) and PARTS_NAME.fullmatch(name) is not None


def parts_folder(folder: Path, manifest: dict[str, Any]) -> Path:
    """Returns the folder in which the manifest's arrays and weights lie."""
    return folder / manifest["parts"] if "parts" in manifest else folder


def is_leftover(entry: Path) -> bool:
    """Whether this is the lock, or parts, of a save that was killed; what a file system puts into
    an empty folder counts as well."""
    if entry.name in (LOCK, "lost+found"):
        return True
    return is_parts_name(entry.name) and entry.is_dir() and not entry.is_symlink()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[bool]:
    """Holds the folder's lock, which the system takes back where a process dies.

    Yields:
      Whether nobody else can be saving; False where there are no locks.

    Raises:
      RunExistsError: somebody is saving to the folder.
    """
    handle, alone = _locked(folder)
    try:
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield alone
    finally:
        with handle, contextlib.suppress(OSError):
            (folder / LOCK).unlink()  # while it is held, so that nobody else's is removed


def _locked(folder: Path) -> tuple[IO[str], bool]:
    """Opens and locks the lock file."""
    while True:
        handle = (folder / LOCK).open("a+")
        alone = True
        try:
            if fcntl is None:
                return handle, False
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                handle.seek(0)
                who = handle.read().strip() or "another process"
                handle.close()
                raise RunExistsError(
                    f"{folder} is being saved to by {who}; wait until that is done, or give "
                    "another folder"
                ) from None
            alone = False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), os.stat(folder / LOCK)):
                return handle, alone
        handle.close()  # who held it has removed it meanwhile


@contextlib.contextmanager
def new_parts(folder: Path) -> Iterator[Path]:
    """Makes a folder for parts; it is removed if they are not committed."""
    parts = folder / f"parts-{secrets.token_hex(8)}"
    parts.mkdir()
    try:
        yield parts
    finally:
        if current_parts(folder) != parts.name:
            shutil.rmtree(parts, ignore_errors=True)


def commit(folder: Path, parts: Path, manifest: dict[str, Any]) -> None:
    """Makes these parts the folder's sweep: synced to the disk, then one file is replaced."""
    if (folder / MANIFEST).exists() and current_parts(folder) is None:
        (parts / _OVER_FLAT).touch()
    (parts / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    for root, _, names in os.walk(parts):
        for name in names:
            _sync(os.path.join(root, name))
        _sync(root)
    _sync(folder)
    os.replace(parts / MANIFEST, folder / MANIFEST)
    _sync(folder)


def clean(folder: Path, alone: bool, before: str | None) -> None:
    """Removes what earlier saves left; failing to is no fault of the save.

    Args:
      alone: whether no other process can be saving. before: the parts that were the sweep's.
    """
    current = current_parts(folder)
    if current is None:
        return
    for entry in folder.iterdir():
        ours = is_parts_name(entry.name) and is_leftover(entry)
        if ours and entry.name != current and (alone or entry.name == before):
            shutil.rmtree(entry, ignore_errors=True)
    if (folder / current / _OVER_FLAT).exists():
        with contextlib.suppress(OSError):
            (folder / ARRAYS).unlink(missing_ok=True)
            if (folder / WEIGHTS).exists():
                shutil.rmtree(folder / WEIGHTS)
            (folder / current / _OVER_FLAT).unlink()


def current_parts(folder: Path) -> str | None:
    """Returns the name of the parts that the manifest names; None where it names none."""
    try:
        name = json.loads((folder / MANIFEST).read_text()).get("parts")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return name if is_parts_name(name) else None


def _sync(path: str | Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        if os.path.isdir(path):  # Windows opens no folders
            return
        raise
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot
            raise
    finally:
        os.close(number)
