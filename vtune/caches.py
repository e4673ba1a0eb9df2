"""Bounded caches that `vt.clear_caches` empties: compiled programs, traces, learners."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_CACHES: list[functools._lru_cache_wrapper] = []


def bounded_cache(
    maxsize: int, reads: Callable[..., Any] | None = None
) -> Callable[[Callable[..., T]], functools._lru_cache_wrapper[T]]:
    """`functools.lru_cache`, known to `clear_caches`.

    Args:
      reads: what it returns of the arguments is part of the key.
    """

    def decorate(f: Callable[..., T]) -> functools._lru_cache_wrapper[T]:
        cached: Any = functools.lru_cache(maxsize=maxsize)(lambda key, *arguments: f(*arguments))
        _CACHES.append(cached)
        key = reads or (lambda *arguments: None)
        call: Any = functools.wraps(f)(lambda *arguments: cached(key(*arguments), *arguments))
        call.cache_info, call.cache_clear = cached.cache_info, cached.cache_clear
        return call

    return decorate


def clear_caches() -> None:
    """Forgets every compiled program and every learner that vtune keeps for a later sweep.

    vtune keeps the last 32 of each, with whatever their functions close over, such as data. Sweeps
    stay usable; what they need again is compiled again, or read from the cache on disk. JAX has
    caches of its own: `jax.clear_caches()`.
    """
    for cache in _CACHES:
        cache.cache_clear()
