"""A learner's functions are traced once for arguments of one form, wherever the program needs them.

What of the hyperparameters they read is noted at every call, for whoever wants to know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from vtune.hparams import Hparams
from vtune.types import is_traced

# Into the program that calls it, so that its equations can be told apart there; True, since jax
# 0.11, is too late for that.
_INLINE: Any = jax.Inline.JAX_EARLY if hasattr(jax, "Inline") else True


def once(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; what it is traced to is put in place when it is called again.

    Only where its hyperparameters are traced: Python numbers among them would be made arrays, and
    pass where they must not.
    """
    return f if isinstance(f, _Once) else _Once(f)


class _Once:
    def __init__(self, f: Callable[..., Any]):
        functools.update_wrapper(self, f)
        self._f = f
        self._read: dict[Any, set[str]] = {}  # by the hyperparameters' form
        self._jitted = jax.jit(self._trace, inline=_INLINE)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        h = _hyperparameters(arguments)
        if keywords or h is None or not is_traced(h):  # the program calls by position
            return self._f(*arguments, **keywords)
        out = self._jitted(*arguments)
        h.note(self._read[h.form])
        return out

    def _trace(self, *arguments: Any) -> Any:
        reads: set[str] = set()
        watched = lambda a: a.noted_in(reads) if isinstance(a, Hparams) else a
        out = self._f(*map(watched, arguments))
        h = _hyperparameters(arguments)
        assert h is not None
        self._read.setdefault(h.form, set()).update(reads)
        return out


def _hyperparameters(arguments: tuple[Any, ...]) -> Hparams | None:
    return next((a for a in arguments if isinstance(a, Hparams)), None)
