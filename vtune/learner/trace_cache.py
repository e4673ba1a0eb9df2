"""A trace cache: a learner's function is traced once per structure of its arguments.

A program uses the same function in several places: where its shapes are asked for, where it is
checked and where it runs. Hyperparameters that the function reads are noted at every call, since
`tune` warns about those that are never read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from vtune.hparams import Hparams
from vtune.learner.captured import captured
from vtune.target import platform
from vtune.types import is_traced

# Traces are inlined early, so that a member's equations can be analysed in the calling program.
# Since jax 0.11, True means later than that.
_INLINE: Any = jax.Inline.JAX_EARLY if hasattr(jax, "Inline") else True


def cache_trace(f: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `f` so that it is traced once per argument structure; later calls reuse the trace,
    while what `f` reads from outside stays as it was.

    Calls with plain-Python hyperparameters bypass the cache: jit would turn these into arrays and
    hide misuse, such as `if h["lr"] > 1`.
    """
    return f if isinstance(f, _CachedTrace) else _CachedTrace(f)


def uncached(f: Any) -> Any:
    """Returns the function that `cache_trace` wrapped, which is traced at every call."""
    return f._f if isinstance(f, _CachedTrace) else f


class _CachedTrace:
    """A function with its traces, and the hyperparameters that each of them reads."""

    def __init__(self, f: Callable[..., Any]):
        functools.update_wrapper(self, f)
        self._f = f
        # Not a static argument, which JAX would keep for ever.
        self._with = functools.lru_cache(4)(lambda outside: _Traces(f))

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        h = _hyperparameters(arguments)
        if keywords or h is None or not is_traced(h):  # the program passes no keywords
            return self._f(*arguments, **keywords)
        traces = self._with(captured(self._f))
        try:
            return traces.call(platform(), *arguments)
        finally:  # those that it reads before it fails, too
            h.note(traces.reads.get(h.form, set()))


class _Traces:
    """The traces of a function while what it reads from outside stays as it is.

    Attributes:
      reads: the names of the hyperparameters that it reads, by their form.
    """

    def __init__(self, f: Callable[..., Any]):
        self.reads: dict[Any, set[str]] = {}

        def trace(platform: str, *arguments: Any) -> Any:
            h = _hyperparameters(arguments)
            assert h is not None
            reads = self.reads.setdefault(h.form, set())
            noting = lambda a: a.noted_in(reads) if isinstance(a, Hparams) else a
            return f(*map(noting, arguments))

        self.call = jax.jit(trace, static_argnums=0, inline=_INLINE)


def _hyperparameters(arguments: tuple[Any, ...]) -> Hparams | None:
    return next((a for a in arguments if isinstance(a, Hparams)), None)
