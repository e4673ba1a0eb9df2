"""Notes on an error in a user's function: what it was called with, and what to write instead."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from vtune.hparams import UnknownHyperparameterError
from vtune.learner.advice import advice
from vtune.returned import ReturnedError
from vtune.types import PyTree

_CALLED = "vtune called"  # the innermost function alone is noted
_LONGEST = 600


class MissingNameError(KeyError):
    """A user's function looked up a name that is not there; the message lists those that are."""

    def __str__(self) -> str:
        return str(self.args[0])


_COMPLETE = (UnknownHyperparameterError, ReturnedError, MissingNameError)  # say everything


@contextlib.contextmanager
def calling(who: str, **given: PyTree) -> Iterator[None]:
    """Adds notes to an error raised inside: what the user's function `who` was called with, and
    what to write instead, where that is known.

    Arrays are shown by type and shape.

    Raises:
      MissingNameError: in the place of a KeyError, which would show the name alone.
    """
    try:
        yield
    except _COMPLETE:
        raise
    except Exception as error:
        if any(note.startswith(_CALLED) for note in getattr(error, "__notes__", ())):
            raise
        called = f"{_CALLED} {who} with {', '.join(map(_shown, given, given.values()))}"
        if type(error) is KeyError and error.args and isinstance(error.args[0], str):
            raise MissingNameError(f"{who} found no {error.args[0]!r}; {called}") from error
        error.add_note(called)
        for note in advice(error, given):
            error.add_note(note)
        raise


def _shown(name: str, tree: PyTree) -> str:
    """Returns what was given under a name, arrays by type and shape."""
    try:
        tree = dict(tree) if isinstance(tree, Mapping) else tree
        text = repr(jax.tree.map(_leaf, tree))
    except Exception:  # it cannot be shown
        text = f"a {type(tree).__name__}"
    return f"{name} {text if len(text) <= _LONGEST else text[:_LONGEST] + ' ...'}"


class _Unquoted(str):
    """A string that is shown without quotes inside a dict."""

    __repr__ = str.__str__


def _leaf(leaf: Any) -> Any:
    return _Unquoted(jax.typeof(leaf)) if hasattr(leaf, "dtype") else leaf
