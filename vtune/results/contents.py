"""A checksum of all that a value holds, the same in every process of one version of Python."""

from __future__ import annotations

import enum
import functools
import hashlib
import re
from collections.abc import Iterable
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from vtune.identity import contents_of, fields_of
from vtune.results.names import ROOTS
from vtune.rng.keys import is_key

_PLAIN = (bool, int, float, complex, str, bytes, np.dtype)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def without_addresses(text: str) -> str:
    """Returns the text of an object without what differs from process to process."""
    return _ADDRESS.sub("", text)


def text_of(value: Any) -> str:
    """Returns the text of a value in one line."""
    try:
        return " ".join(without_addresses(repr(value)).split())
    except Exception as error:  # a user's __repr__
        return f"<{type(value).__qualname__}, whose repr fails: {type(error).__name__}>"


def array_sum(values: np.ndarray) -> str:
    """Returns a checksum of the type, the shape and the numbers of an array."""
    digest = hashlib.sha256(f"{values.dtype} {values.shape};".encode())
    if values.size:
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        digest.update(flat.data)  # no copy
    return digest.hexdigest()


def contents_sum(value: Any) -> str | None:
    """Returns a checksum of a value; None where it cannot be taken apart.

    Functions count by their byte code, what they close over and their defaults; arrays by their
    numbers; objects by what they would be copied from. Modules do not count, so a class or function
    may move.
    """
    try:
        return _Summer().sum(value)[:16]
    except Exception:  # of a user's class, or nested too deeply
        return None


class _Summer:
    """Sums one value; what occurs in it twice is looked into once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        self._open: list[int] = []
        self._seen: list[Any] = []  # kept alive, so that no other value gets an id of these

    def sum(self, value: Any) -> str:
        if id(value) in self._open:  # it holds itself
            return f"{len(self._open) - self._open.index(id(value))} above"
        if id(value) not in self._known:
            self._seen.append(value)
            self._open.append(id(value))
            text = f"{type(value).__qualname__} {self._text(value)}"
            self._open.pop()
            self._known[id(value)] = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        return self._known[id(value)]

    def _text(self, value: Any) -> str:
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return self._array(value)
        if isinstance(value, enum.Enum):
            return value.name
        if value is None or isinstance(value, _PLAIN):
            return repr(value)
        if isinstance(value, set | frozenset):  # whose order differs from process to process
            return " ".join(sorted(map(self.sum, value)))
        if type(value) in (dict, MappingProxyType):
            return self._each(part for pair in value.items() for part in pair)
        if isinstance(value, list | tuple):
            return self._each(value)
        if isinstance(value, CodeType):
            return self._each((value.co_code, value.co_consts, value.co_names, value.co_varnames))
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type | ModuleType):
            return getattr(value, "__qualname__", value.__name__)
        if isinstance(value, nn.Module):
            return self._each((name, getattr(value, name)) for name in fields_of(value))
        if callable(value) and hasattr(value, "__name__"):
            return f"{value.__name__} {self.sum(getattr(value, '__wrapped__', None))}"
        return self._object(value)

    def _each(self, values: Iterable[Any]) -> str:
        return " ".join(map(self.sum, values))

    def _array(self, value: Any) -> str:
        if is_key(value):
            return f"{value.dtype} {array_sum(np.asarray(jax.random.key_data(value)))}"
        values = np.asarray(value)
        if values.dtype.hasobject:
            return f"{values.shape} {self._each(values.ravel().tolist())}"
        return array_sum(values)

    def _function(self, value: FunctionType) -> str:
        parts: list[Any] = [value.__defaults__, value.__kwdefaults__]
        parts += map(_cell, value.__closure__ or ())
        if str(value.__module__).partition(".")[0] not in ROOTS:  # theirs changes with the version
            parts.append(value.__code__)
        return f"{value.__qualname__} {self._each(parts)}"

    def _object(self, value: Any) -> str:
        try:
            parts = contents_of(value)
        except Exception:  # it cannot be taken apart
            parts = None
        if parts is None:
            return text_of(value)
        make, args, state, items, pairs = parts
        if isinstance(state, dict):
            of = type(value)
            state = {k: v for k, v in state.items() if not _is_cached(getattr(of, k, None))}
        return self._each((make, args, state, items, pairs))


def _is_cached(attribute: Any) -> bool:
    return isinstance(attribute, functools.cached_property)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
