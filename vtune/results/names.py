"""Functions and classes by the names they are imported under: what a file may name, and who is
trusted.

A file is looked into before anybody knows who wrote it. So a name is only looked up in the public
modules of this list, which vtune's own dependencies bring along, and in modules that the caller
trusts. Nothing that is found is called here, and no other module is imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

LIBRARY = (
    "jax.nn",
    "jax.numpy",
    "flax.linen",
    "flax.nnx",
    "optax",
    "builtins",
    "numpy",
    "jax.lax",
    "jax.nn.initializers",
    "jax.scipy.special",
    "flax.linen.initializers",
    "optax.contrib",
    "optax.losses",
    "vtune.components.augment",
    "vtune.components.nn",
    "vtune.components.penalties",
    "vtune.components.schedules",
)
ROOTS = ("jax", "jaxlib", "flax", "optax", "numpy", "ml_dtypes", "vtune", "builtins")
_BUILTINS = ("int", "float", "bool", "complex", "str", "tuple", "abs", "max", "min", "sum", "round")
_FILES = ("load", "save", "savez", "fromfile", "frompyfunc")  # of jax.numpy


class NotFoundError(LookupError):
    """A name that is not trusted, or where nothing is; the message says which, and the way out."""


def name_of(value: Any) -> tuple[str, str] | None:
    """Returns the module and the name under which a value is found again; None if there are none.

    Public modules come first: where a function is defined may change with its library's version.
    """
    short = getattr(value, "__name__", None)
    if isinstance(short, str):
        for module in LIBRARY:
            if _in_library(module, short) is value:
                return module, short
    home, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(home, str) or not isinstance(name, str) or home == "__main__":
        return None
    return (home, name) if _walk(sys.modules.get(home), name, home) is value else None


def find(module: Any, name: Any, trusted: Sequence[str]) -> Any:
    """Returns what is found under a name that a file holds.

    Args:
      trusted: modules that may be imported, with those below them.

    Raises:
      NotFoundError: the module is not trusted, or nothing is there.
    """
    if not isinstance(module, str) or not isinstance(name, str):
        raise NotFoundError(f"{module!r}.{name!r} is no name")
    for place in _places(module):
        value = _in_library(place, name)
        if value is not None and (place == module or _home(value) == module):
            return value
    if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in trusted):
        raise NotFoundError(
            f"{module}.{name} is not imported, since a file that names it could be anybody's; "
            f'give trusted=["{module}"]'
        )
    try:
        value = _walk(importlib.import_module(module), name, module)
    except ImportError as error:
        raise NotFoundError(f"{module} cannot be imported ({error})") from None
    if value is None:
        raise NotFoundError(f"{module} has no {name} of its own")
    return value


def _places(module: str) -> Iterator[str]:
    """The module itself, if it is in the list, and those that hand on what it defines."""
    if module in LIBRARY:
        yield module
    root = module.partition(".")[0]
    yield from (place for place in LIBRARY if place.partition(".")[0] == root != "builtins")


def _in_library(place: str, name: str) -> Any:
    """What a module of the list makes public under a name; None where that is nothing fit."""
    if not name.isidentifier() or name.startswith("_"):
        return None
    value = getattr(importlib.import_module(place), name, None)
    if value is None or isinstance(value, ModuleType) or _home(value).split(".")[0] not in ROOTS:
        return None
    if place == "builtins":
        return value if name in _BUILTINS else None
    if place == "numpy":
        return value if isinstance(value, type) and issubclass(value, np.generic) else None
    return None if name in _FILES or not callable(value) else value


def _home(value: Any) -> str:
    """The module that defines a value, or its class."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return module if isinstance(module, str) else ""


def _walk(module: ModuleType | None, name: str, home: str) -> Any:
    """What a module defines itself under a dotted name; nothing that it imports."""
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
        if isinstance(value, ModuleType):
            return None
    return value if _home(value) == home else None
