"""JAX's persistent compilation cache, in a folder of vtune's: a later process loads what an earlier
one compiled."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from vtune.runtime.notices import warn
from vtune.validation import is_remote

VARIABLE = "VTUNE_CACHE_DIR"
OFF = ("", "off", "0", "no", "none", "false")
ON = ("on", "1", "yes", "true")  # the usual folder
LARGEST = 2 * 2**30  # bytes of all entries; the oldest ones go first
SETTLED = 10.0  # seconds after which nobody still writes an entry
ENTRY = re.compile(r".+-[0-9a-f]{64}-cache")  # the name of JAX's files: a program and its checksum
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # how a file of its begins
CHECKED = "vtune-checked.json"  # the entries that are known to be whole: name -> [size, time]


def use_cache() -> None:
    """Switches the cache on, unless JAX has one already or the user wants none.

    The environment variable VTUNE_CACHE_DIR names the folder; without it, it is `vtune` in the
    user's cache folder. VTUNE_CACHE_DIR=off leaves the cache off. Programs that JAX takes a second
    or more to compile are kept. Where the folder cannot be made, there is no cache, and no error;
    a warning if the user named it. Programs in it are run as they are, so a folder that others may
    write to is not used.
    """
    chosen = os.environ.get(VARIABLE)
    configured = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    if configured is not None or (chosen is not None and chosen.strip().lower() in OFF):
        return
    named = None if chosen is None or chosen.strip().lower() in ON else chosen
    try:
        folder = _default() if named is None else _named(named)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(folder):
            tidy(folder)
            jax.config.update("jax_compilation_cache_dir", str(folder))
    except (OSError, RuntimeError) as error:  # Python may not know a home folder
        if named is not None:
            _warn_once(f"compiled programs are not kept in {VARIABLE}={named}: {error}")


@contextlib.contextmanager
def no_cache() -> Iterator[None]:
    """Leaves the cache off for a while, also one that JAX has opened already."""
    name = "jax_enable_compilation_cache"
    before = getattr(jax.config, name)
    jax.config.update(name, False)
    jax_cache.reset_cache()  # JAX asks once whether there is one, and remembers
    try:
        yield
    finally:
        jax.config.update(name, before)
        jax_cache.reset_cache()


def _default() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vtune"


def _named(name: str) -> Path:
    if is_remote(name):
        raise OSError(
            "this is no folder of this machine; JAX may know it: "
            f'jax.config.update("jax_compilation_cache_dir", {name!r})'
        )
    return Path(name).expanduser()


def _is_private(folder: Path) -> bool:
    """Returns whether only this user (and root) can write to the folder; warns where not."""
    if not hasattr(os, "getuid"):  # Windows
        return True
    status = folder.stat()
    if status.st_uid in (os.getuid(), 0) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    _warn_once(
        f"compiled programs are not kept: others may write to {folder}, and what lies there would "
        f"be run; write `chmod go-w {folder}`, or set {VARIABLE} to a folder of your own"
    )
    return False


@functools.cache
def _warn_once(message: str) -> None:
    warn(message)


def tidy(folder: Path) -> None:
    """Removes entries that are broken, and the oldest ones where all together are too large.

    JAX writes entries in place, never over one that is there, and warns of a broken one in every
    process. So each entry is unpacked once in its life, by the first process that finds it.
    """
    with contextlib.suppress(OSError, ValueError):
        known = _read_checked(folder / CHECKED)
        kept: dict[str, list[int]] = {}
        newest_first = sorted(_entries(folder).items(), key=lambda entry: -entry[1][1])
        total = 0
        for name, mark in newest_first:
            if time.time() - mark[1] / 1e9 < SETTLED:
                continue
            whole = known.get(name) == mark or _is_whole((folder / name).read_bytes())
            if whole and total + mark[0] <= LARGEST:
                kept[name] = mark
                total += mark[0]
            else:
                (folder / name).unlink(missing_ok=True)
        if kept != known:
            fresh = folder / f"{CHECKED}.{os.getpid()}"
            fresh.write_text(json.dumps(kept))
            fresh.replace(folder / CHECKED)


def _entries(folder: Path) -> dict[str, list[int]]:
    """Returns the size and the time of every entry of JAX's by its file's name."""
    marks = {}
    for path in filter(lambda path: ENTRY.fullmatch(path.name), folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # another process tidies up, too
            status = path.stat()
            marks[path.name] = [status.st_size, status.st_mtime_ns]
    return marks


def _read_checked(path: Path) -> dict[str, list[int]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_whole(packed: bytes) -> bool:
    """Returns whether an entry can be unpacked. JAX packs with zstandard where it is installed."""
    unpack: Any = zlib.decompress
    if packed.startswith(ZSTANDARD):
        modules = filter(None, map(_imported, ("compression.zstd", "zstandard")))
        unpack = next((module.decompress for module in modules), lambda packed: packed)
    try:
        return len(unpack(packed)) > 0
    except Exception:  # each has its own
        return False


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
