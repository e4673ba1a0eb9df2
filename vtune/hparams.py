"""The hyperparameters of one member, as a user's functions read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np


class UnknownHyperparameterError(KeyError, ValueError):
    """A hyperparameter was read that the space does not hold: `name`."""

    name: str = ""

    def __str__(self) -> str:
        return str(self.args[0])


class Hparams(Mapping[str, Any]):
    """The hyperparameters of ONE member, as `model`, `optimizer` and `loss` see them.

    Traced ones are arrays (scalars), structural and fixed ones are plain Python values. As a
    pytree, the traced values are its leaves and the others part of its structure.

    Raises:
      UnknownHyperparameterError (a ValueError and a KeyError): on reading an unknown name.
    """

    def __init__(self, traced: Mapping, static: Mapping, reads: set[str] | None = None):
        self._traced = dict(traced)
        self._static = dict(static)
        self._reads = reads  # names read so far, where somebody wants to know

    def __getitem__(self, name: str) -> Any:
        if self._reads is not None:
            self._reads.add(name)
        if name in self._traced:
            return self._traced[name]
        if name in self._static:
            return self._static[name]
        known = ", ".join(sorted(map(repr, self))) or "none"
        error = UnknownHyperparameterError(
            f"hyperparameter {name!r} is read but not in the space (known here: {known}); "
            f'add it, for example {{"{name}": vt.Float(low, high)}} or a fixed value'
        )
        error.name = name
        raise error

    def __iter__(self) -> Iterator[str]:
        yield from self._traced
        yield from self._static

    @property
    def form(self) -> tuple[tuple[str, ...], Static]:
        """What a function is traced for: the traced names, and all that is not traced."""
        return tuple(sorted(self._traced)), Static(self._static)

    def note(self, names: set[str]) -> None:
        """Counts these as read."""
        if self._reads is not None:
            self._reads |= names

    def noted_in(self, reads: set[str]) -> Hparams:
        """The same hyperparameters, whose reads are noted elsewhere."""
        return Hparams(self._traced, self._static, reads)

    def __len__(self) -> int:
        return len(self._traced) + len(self._static)

    def __repr__(self) -> str:
        return f"Hparams({dict(self)!r})"


class _Reads:
    """Where reads are noted. No part of a program's identity: all are equal, so that a function
    traced with one is not traced again with another."""

    def __init__(self, names: set[str] | None):
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reads)

    def __hash__(self) -> int:
        return 0


jax.tree_util.register_pytree_node(
    Hparams,
    lambda h: (
        tuple(h._traced[k] for k in sorted(h._traced)),
        (*h.form, _Reads(h._reads)),
    ),
    lambda aux, leaves: Hparams(dict(zip(aux[0], leaves, strict=True)), aux[1].value, aux[2].names),
)


class Static:
    """A Python value as part of a program's identity: compared by value, hashable.

    Structural choices may be lists, dicts or NumPy arrays, which are not hashable themselves.
    """

    def __init__(self, value: Any):
        self.value: Any = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and _same(self.value, other.value)

    def __hash__(self) -> int:
        return hash(type(self.value))

    def __repr__(self) -> str:
        return repr(self.value)


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray | jax.Array):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a is b or bool(a == b)
