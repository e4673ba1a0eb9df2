"""JAX's persistent compilation cache, in a folder of vtune's: a later process loads what an earlier
one compiled."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import jax

VARIABLE = "VTUNE_CACHE_DIR"


def use_cache() -> None:
    """Switches the cache on, unless JAX has one already or the user wants none.

    The environment variable VTUNE_CACHE_DIR names the folder; without it, it is `vtune` in the
    user's cache folder. VTUNE_CACHE_DIR=off leaves the cache off. Programs that JAX takes a second
    or more to compile are kept. Where the folder cannot be made, there is no cache, and no error.
    """
    chosen = os.environ.get(VARIABLE)
    configured = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    if configured is not None or chosen in ("", "off"):
        return
    user_caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) if chosen else Path(user_caches) / "vtune"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
