"""What can be told of a function without calling it: its code, its closure, its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any


def parts(code: CodeType) -> Iterator[CodeType]:
    """Yields a piece of code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from parts(constant)


def closure(function: FunctionType) -> dict[str, Any]:
    """Returns the values of the names that a function closes over, as far as they have one."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def defaults(function: FunctionType) -> list[Any]:
    """Returns the defaults of a function's arguments."""
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
