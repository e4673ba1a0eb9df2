"""Values that a file cannot hold: their description, which says whether others are the same."""

from __future__ import annotations

import hashlib
import re
import sys
from types import CodeType, FunctionType
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_LONGEST = 2000  # characters


def without_addresses(text: str) -> str:
    """Returns the text of an object without what differs from process to process."""
    return _ADDRESS.sub("", text)


class Described:
    """Stands where a file holds a description alone. Using it says how to bring the value back.

    Attributes:
      saved: what the file holds, as JSON; it is saved again as it is.
    """

    def __init__(self, text: str, reason: str, saved: Any = None):
        self.text = text
        self.reason = reason
        self.saved = saved
        self.__name__ = text

    def __repr__(self) -> str:
        return self.text

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        raise ValueError(self.reason)


def describe_value(value: Any) -> dict[str, Any]:
    """Returns a description as JSON: the class, the text, and for functions what they compute."""
    try:
        text = " ".join(without_addresses(repr(value)).split())[:_LONGEST]
    except Exception as error:  # a user's __repr__
        text = f"<{type(value).__qualname__}, whose repr fails: {type(error).__name__}>"
    described = {"kind": "described", "type": type(value).__qualname__, "text": text}
    if isinstance(value, FunctionType):
        described["code"] = f"{_python()} {_code_sum(value)}"
    return described


def same_description(saved: dict[str, Any], value: Any) -> bool:
    """Whether a value is like the one that was described.

    Byte code is compared within one version of Python only.
    """
    found, code = describe_value(value), saved.get("code")
    if (found["type"], found["text"]) != (saved.get("type"), saved.get("text")):
        return False
    comparable = isinstance(code, str) and code.startswith(f"{_python()} ")
    return not comparable or code == found.get("code")


def _code_sum(function: FunctionType) -> str:
    """A checksum of a function's byte code, constants, defaults and the values it closes over."""
    cells = [_cell(cell) for cell in function.__closure__ or ()]
    parts = (_code(function.__code__), function.__defaults__, function.__kwdefaults__, cells)
    return hashlib.sha256(without_addresses(repr(parts)).encode(errors="replace")).hexdigest()[:16]


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _code(code: CodeType) -> Any:
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
