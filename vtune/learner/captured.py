"""What functions read from outside: globals, closures, defaults, attributes of objects.

Functions are compared by identity, and what one reads may change between two sweeps. So the present
values are part of the key that a trace or a program is kept under.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import inspect
import sys
import sysconfig
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from vtune.callers import PACKAGE
from vtune.hparams import Static
from vtune.identity import fields_of
from vtune.learner.code import closure, defaults, parts
from vtune.validation import is_tracer

MOST = 10_000  # values are looked into; a longer list, or a larger array, is known by identity
_PLAIN = (bool, int, float, complex, str, bytes, np.generic, np.dtype, type(None))
_LIBRARIES = tuple({PACKAGE, *map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))})
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_STORES = ("STORE_SUBSCR", "STORE_SLICE", "DELETE_SUBSCR")
_CHANGES = {  # methods that change a list, a dict or a set
    *("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard"),
    *("update", "setdefault", "popitem"),
}


def captured(*functions: Any) -> Static:
    """Returns the present values of what these functions, and those that they call, read from
    outside; two results are equal where the values are.

    Code of libraries is not looked into, but for the functions of yours that it holds. What code
    changes itself does not count, such as a list of what it was called with.
    """
    reader = _Reader()
    for function in functions:
        reader.read(function, _NOTHING)
    return Static(reader.found)


def captured_tracers(*functions: Any) -> list[Any]:
    """Returns the arrays that functions read from outside and that JAX traces at present."""
    known = [found.value for found in captured(*functions).value if isinstance(found, _Same)]
    return list(filter(is_tracer, known))


class _Code(NamedTuple):
    """What a piece of code does with names.

    Attributes:
      loads: globals that it reads. attributes: names after a dot. stores: names that it sets.
      fills: names of what it changes in place, such as a list that it appends to.
      fills_all: whether any list or dict may be one that it changes.
    """

    loads: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    fills: frozenset[str] = frozenset()
    fills_all: bool = False


_NOTHING = _Code()


class _Same:
    """A value that is known by identity."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class _Reader:
    """Goes through functions and notes in `found` what they read."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self._seen: dict[Any, Any] = {}  # kept alive while their ids are compared

    def read(self, value: Any, by: _Code) -> None:
        """Notes a value that a piece of code reads, and what can be read through it."""
        if isinstance(value, _PLAIN):
            self.found.append(value)
        elif isinstance(value, types.MethodType):  # made anew whenever it is looked up
            self._function(value.__func__, value.__self__)
        elif isinstance(value, functools.partial):
            self._each(value, (value.func, value.args, value.keywords), by)
        elif isinstance(value, tuple):
            self._each(value, value, by)
        elif isinstance(value, nn.Module):
            self._each(value, [getattr(value, name) for name in fields_of(value)], by)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value) if field.compare]
            self._each(value, [getattr(value, name, None) for name in names], by)
        elif by.fills_all or not self._contents(value, by):
            self.found.append(_Same(value))
            self._through(value, by)

    def _contents(self, value: Any, by: _Code) -> bool:
        """Notes what a list, a dict, a set or an array holds; False for anything else."""
        if isinstance(value, np.ndarray) and value.size <= MOST and not value.dtype.hasobject:
            self.found.append(value.copy())
        elif isinstance(value, set | frozenset) and len(value) <= MOST:
            self.found.append(set(value))
        elif isinstance(value, list) and len(value) <= MOST:
            self._each(value, value, by)
        elif isinstance(value, dict) and len(value) <= MOST:
            self._each(value, [part for pair in value.items() for part in pair], by)
        else:
            return False
        return True

    def _each(self, value: Any, parts: Sequence[Any], by: _Code) -> None:
        """Notes the parts of a value, which is compared by them, and its class."""
        self.found.append(len(parts))
        if self._is_new(value, by):
            self.read(type(value), by)
            for part in parts:
                self.read(part, by)

    def _through(self, value: Any, by: _Code) -> None:
        """Goes on to what can be read through a value that is known by identity."""
        if isinstance(value, types.FunctionType):
            self._function(value, None)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.ModuleType):
            if not _is_library(getattr(value, "__file__", None) or PACKAGE):
                self._attributes(value, by)
        elif callable(value) and hasattr(value, "__wrapped__"):  # of jax.jit, jax.custom_vjp
            self.read(value.__wrapped__, by)
        elif isinstance(value, types.SimpleNamespace) or _is_users(type(value)):
            self._attributes(value, by)

    def _is_new(self, *key: Any) -> bool:
        ids = tuple(part if isinstance(part, str | _Code) else id(part) for part in key)
        if ids in self._seen or len(self._seen) >= MOST:
            return False
        self._seen[ids] = key
        return True

    def _function(self, function: Any, receiver: Any) -> None:
        if not isinstance(function, types.FunctionType) or not self._is_new(function, receiver):
            return
        file = function.__code__.co_filename
        code = _code(function.__code__)
        if _is_library(file):
            code = _NOTHING if file.startswith(PACKAGE) else _LIBRARY
        named = closure(function)
        named |= {name: function.__globals__.get(name) for name in code.loads}
        for name in sorted(named.keys() - code.stores):
            self.read(named[name], code._replace(fills_all=True) if name in code.fills else code)
        for value in (*defaults(function), receiver, getattr(function, "__wrapped__", None)):
            self.read(value, code)

    def _attributes(self, value: Any, by: _Code) -> None:
        """Notes those attributes of an object that a piece of code names."""
        own = getattr(value, "__dict__", {})
        for name in sorted((by.attributes | {"__call__"}) - by.stores):
            if not self._is_new(value, name):
                continue
            if name in own:
                self.read(own[name], by)
            else:
                self._function(inspect.getattr_static(type(value), name, None), value)

    def _class(self, kind: type) -> None:
        """Notes what a user's class, and those that it is made of, hold."""
        for part in kind.__mro__:
            if not _is_users(part) or not self._is_new(part):
                continue
            stores: set[str] = set()
            for value in vars(part).values():
                function = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
                if isinstance(function, types.FunctionType):
                    stores |= _code(function.__code__).stores
                    self._function(function, None)
            for name, value in vars(part).items():
                if isinstance(value, _PLAIN) and name not in stores and not name.startswith("__"):
                    self.found.append(value)


_LIBRARY = _Code(fills_all=True)  # what it keeps in lists and dicts may be its caches


@functools.lru_cache(4096)
def _code(code: types.CodeType) -> _Code:
    """Returns what code does with names, functions inside it included."""
    loads, attributes, stores, fills = set(), set(), set(), set()
    line: int | None = None
    loaded: list[str] = []  # on the line, so far
    for part in parts(code):
        for instruction in dis.get_instructions(part):
            operation, name = instruction.opname, instruction.argval
            if instruction.positions is not None and instruction.positions.lineno != line:
                line, loaded = instruction.positions.lineno, []
            if operation in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
                loaded.append(name)
            if operation in ("LOAD_GLOBAL", "LOAD_NAME"):
                loads.add(name)
            elif operation in _ATTRIBUTES:
                attributes.add(name)
            elif operation in ("STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"):
                stores.add(name)
            if operation in _STORES or (operation in _ATTRIBUTES and name in _CHANGES):
                fills.update(loaded)
    return _Code(frozenset(loads), frozenset(attributes), frozenset(stores), frozenset(fills))


def _is_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or "site-packages" in file


def _is_users(kind: type) -> bool:
    """Whether a class is the user's own, and not of a library."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return kind.__module__ == "__main__" or (file is not None and not _is_library(file))
