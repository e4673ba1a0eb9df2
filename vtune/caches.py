"""Bounded caches that `vt.clear_caches` empties: compiled programs, traces, learners."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_CACHES: list[functools._lru_cache_wrapper] = []


def bounded_cache(
    maxsize: int,
) -> Callable[[Callable[..., T]], functools._lru_cache_wrapper[T]]:
    """`functools.lru_cache`, known to `clear_caches`."""

    def decorate(f: Callable[..., T]) -> functools._lru_cache_wrapper[T]:
        cached = functools.lru_cache(maxsize=maxsize)(f)
        _CACHES.append(cached)
        return cached

    return decorate


def clear_caches() -> None:
    """Forgets every compiled program and every learner that vtune keeps for a later sweep.

    vtune keeps the last 32 of each, with whatever their functions close over, such as data. Sweeps
    stay usable; what they need again is compiled again, or read from the cache on disk. JAX has
    caches of its own: `jax.clear_caches()`.
    """
    for cache in _CACHES:
        cache.cache_clear()
