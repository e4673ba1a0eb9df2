"""The libraries that callbacks write with."""

from __future__ import annotations

import importlib
from types import ModuleType


def imported(who: str, extra: str, *modules: str) -> list[ModuleType]:
    """Imports modules of a library that is not always there.

    Raises:
      ImportError: it is not there, with the extra that brings it.
    """
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        needed = f"pip install 'vtune[{extra}]'"
        raise ImportError(f"{who} needs {extra}, which is not there ({error}): {needed}") from None
