"""Clocks, random numbers and counters that functions name: a trace would freeze what they give.

A function is suspected by the names in its code. Whether it really gives something else each time
it is called is seen by tracing it again, see `runtime/check_repeats.py`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dis import get_instructions as instructions
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from vtune.learner.code import closure, defaults, parts

_MODULES = ("random", "secrets", "time", "datetime", "uuid", "numpy.random")
_STREAMS = (random.Random, np.random.Generator, np.random.RandomState)
_LIBRARIES = {"jax", "jaxlib", "flax", "optax", "numpy", "vtune", *sys.stdlib_module_names}
_MOST = 5_000  # objects that are looked at


def suspects(*roots: Any) -> list[str]:
    """Returns the names of clocks, random numbers and counters that functions name.

    Args:
      roots: functions, and whatever holds some: modules, classes, containers.
    """
    return list(sources(*roots))


def sources(*roots: Any) -> dict[str, list[CodeType]]:
    """Returns, by the names that `suspects` returns, the code that names them."""
    found: dict[str, list[CodeType]] = {}
    seen: dict[int, Any] = {}  # by identity; they are kept, so that no other gets the same one
    waiting = list(roots)
    while waiting and len(seen) < _MOST:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        with contextlib.suppress(Exception):  # of a user's object that cannot be looked into
            if isinstance(value, FunctionType) and not _is_of_a_library(value):
                for name in _named(value):
                    found.setdefault(name, []).append(value.__code__)
            waiting.extend(itertools.islice(_inside(value), _MOST))
    return found


def runs(codes: Iterable[CodeType], call: Callable[[], Any]) -> bool:
    """Calls a function and returns whether any of this code was run meanwhile, in this thread; True
    where a profiler is at work, which nothing takes the place of."""
    if sys.getprofile() is not None:
        call()
        return True
    wanted = {_place(part) for code in codes for part in parts(code)}
    ran = False

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal ran
        ran = ran or (event == "call" and _place(frame.f_code) in wanted)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return ran


def _place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_name


def _named(function: FunctionType) -> Iterator[str]:
    """Yields the names of sources in a function's own code."""
    names = _Names.of(function.__code__)
    known = [function.__globals__.get(name) for name in names.read]
    for value in [*known, *closure(function).values(), *defaults(function)]:
        if isinstance(value, ModuleType):
            of_numpy = value.__name__ == "numpy" and "random" in function.__code__.co_names
            if of_numpy or value.__name__ in _MODULES:
                yield "np.random" if of_numpy else value.__name__
        elif isinstance(stream := getattr(value, "__self__", value), _STREAMS):
            yield f"a {type(stream).__name__}"
        elif isinstance(value, Iterator):
            yield f"a {type(value).__name__}"
        elif _module(value).startswith(_MODULES):
            yield _module(value)
    yield from names.imported & set(_MODULES)
    if "next" in names.read - function.__globals__.keys():
        yield "next"


class _Names(NamedTuple):
    """The names of globals that code reads, and of modules that it imports."""

    read: frozenset[str]
    imported: frozenset[str]

    @staticmethod
    def of(code: CodeType) -> _Names:
        found = [(line.opname, line.argval) for part in parts(code) for line in instructions(part)]
        read = frozenset(name for what, name in found if what in ("LOAD_GLOBAL", "LOAD_NAME"))
        return _Names(read, frozenset(name for what, name in found if what == "IMPORT_NAME"))


def _inside(value: Any) -> Iterator[Any]:
    """Yields what a value holds that may hold functions."""
    if isinstance(value, FunctionType):
        yield from (*closure(value).values(), *defaults(value))
        if not _is_of_a_library(value):
            names = _Names.of(value.__code__).read
            yield from (value.__globals__[name] for name in names if name in value.__globals__)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, tuple | list):
        yield from value
    elif isinstance(value, type):
        if not _is_of_a_library(value):
            yield from (*vars(value).values(), *value.__bases__)
    elif isinstance(value, staticmethod | classmethod | property):
        yield getattr(value, "fget", None) or getattr(value, "__func__", None)
    elif not isinstance(value, ModuleType):
        yield getattr(value, "__wrapped__", None)  # of jax.jit and the like
        yield type(value)
        yield from getattr(value, "__dict__", {}).values()


def _is_of_a_library(value: Any) -> bool:
    """Whether a function or class is from a library, which is not looked into."""
    # a function that stands in the place of another has the other's __module__
    own = getattr(value, "__globals__", {}).get("__name__") or _module(value)
    return own.partition(".")[0] in _LIBRARIES


def _module(value: Any) -> str:
    return getattr(value, "__module__", None) or ""
