"""JAX's persistent compilation cache, in a folder of vtune's own: what one process has compiled the
next one loads."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import jax

VARIABLE = "VTUNE_CACHE_DIR"


def use_cache() -> None:
    """Switches the cache on, unless JAX has one already or none is wanted.

    The folder is the environment variable VTUNE_CACHE_DIR, or `vtune` in the user's cache folder;
    VTUNE_CACHE_DIR=off leaves the cache off. Whatever takes JAX a second to compile is kept from
    then on. A folder that cannot be made costs only the cache.
    """
    chosen = os.environ.get(VARIABLE)
    known = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    if known is not None or chosen in ("", "off"):
        return
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) if chosen else Path(caches) / "vtune"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
