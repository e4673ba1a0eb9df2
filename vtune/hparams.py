"""The hyperparameters of one member, as a user's functions read them by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from vtune.identity import handed_out, same


class UnknownHyperparameterError(KeyError, ValueError):
    """A hyperparameter was read that is not in the space; the attribute `name` says which."""

    name: str = ""

    def __str__(self) -> str:
        return str(self.args[0])


_READ_ONLY = 'hyperparameters are read and not changed; make a dict of them: {**h, "lr": 0.1}'


class Hparams(Mapping[str, Any]):
    """The hyperparameters of ONE member, as `model`, `optimizer` and `loss` see them.

    Traced hyperparameters are scalar arrays; structural and fixed ones are plain Python values. As
    a pytree, the traced values are leaves and the others are part of the structure.

    Raises:
      UnknownHyperparameterError: on reading an unknown name. It is a KeyError and a ValueError.
    """

    def __init__(self, traced: Mapping, static: Mapping, reads: set[str] | None = None):
        self._traced = dict(traced)
        self._static = dict(static)
        self._reads = reads  # a set that names are added to as they are read, or None

    def __getitem__(self, name: str) -> Any:
        if self._reads is not None:
            self._reads.add(name)
        if name in self._traced:
            return self._traced[name]
        if name in self._static:
            return handed_out(self._static[name])  # whoever reads it may change it
        known = ", ".join(sorted(map(repr, self))) or "none"
        error = UnknownHyperparameterError(
            f"hyperparameter {name!r} is read but not in the space (known here: {known}); "
            f'add it, for example {{"{name}": vt.Float(low, high)}} or a fixed value'
        )
        error.name = name
        raise error

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise TypeError(_READ_ONLY)
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(dict, name):  # such as pop and update
            raise AttributeError(_READ_ONLY)
        if name.startswith("_") or name not in self:
            raise AttributeError(
                f"{name!r} is not an attribute of the hyperparameters, which are read by name: "
                f'h["{name}"]'
            )
        raise AttributeError(f'hyperparameters are read by name: h["{name}"], not h.{name}')

    def __iter__(self) -> Iterator[str]:
        yield from self._traced
        yield from self._static

    @property
    def form(self) -> tuple[tuple[str, ...], Static]:
        """The traced names and all static values: what a function's trace depends on."""
        return tuple(sorted(self._traced)), Static(self._static)

    def note(self, names: set[str]) -> None:
        """Marks these names as read."""
        if self._reads is not None:
            self._reads |= names

    def noted_in(self, reads: set[str]) -> Hparams:
        """Returns the same hyperparameters, which add the names that are read to `reads`."""
        return Hparams(self._traced, self._static, reads)

    def __len__(self) -> int:
        return len(self._traced) + len(self._static)

    def __repr__(self) -> str:
        return f"Hparams({dict(self)!r})"


def _is_no_number(h: Hparams, *others: Any) -> Any:
    """Stands in the place of whatever a number or an array could do."""
    names = ", ".join(map(repr, h)) or "none"
    example = next(iter(h), "lr")
    # a ValueError, since what JAX raises of a TypeError says less
    raise ValueError(f'h holds all hyperparameters ({names}); take one: h["{example}"]')


for _name in (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "rfloordiv"),
    *("mod", "rmod", "pow", "rpow", "matmul", "rmatmul", "neg", "pos", "abs", "round"),
    *("lt", "le", "gt", "ge", "int", "float", "complex", "index", "array", "jax_array"),
):
    setattr(Hparams, f"__{_name}__", _is_no_number)


def _is_read_only(h: Hparams, *given: Any) -> Any:
    """Stands in the place of whatever would change hyperparameters."""
    raise TypeError(_READ_ONLY)


for _name in ("setitem", "delitem", "delattr", "or", "ror", "ior"):
    setattr(Hparams, f"__{_name}__", _is_read_only)


class _Reads:
    """The set of names read, as part of a pytree's structure, so that reads inside `jit` count.

    All instances are equal and hash alike. JAX finds an earlier trace by comparing structures, and
    another set must not cause another trace.
    """

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
    """A Python value as part of a program's identity: hashable, and compared by value.

    Structural choices may be lists, dicts or NumPy arrays, which Python cannot hash. What comes
    from a user is copied before (`vtune.identity.snapshot`).
    """

    def __init__(self, value: Any):
        self.value: Any = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static):
            return False
        a, b = self.value, other.value
        if type(a) is dict and type(b) is dict:  # hyperparameters by name, in any order
            return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
        return same(a, b)

    def __hash__(self) -> int:
        return hash(type(self.value))

    def __repr__(self) -> str:
        return repr(self.value)
