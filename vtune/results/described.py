"""Values that a file cannot hold: their description, which says whether others are the same."""

from __future__ import annotations

import sys
from typing import Any

from vtune.results.contents import contents_sum, text_of

_LONGEST = 2000  # characters


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
    """Returns a description as JSON: the class, the text, and a checksum of what it holds."""
    text = text_of(value)[:_LONGEST]
    described = {"kind": "described", "type": type(value).__qualname__, "text": text}
    found = None if isinstance(value, type) else contents_sum(value)
    return described if found is None else {**described, "contents": f"{_python()} {found}"}


def same_description(saved: dict[str, Any], value: Any) -> bool:
    """Whether a value is like the one that was described: of its class, with its contents.

    Contents are compared within one version of Python, since byte code differs; else the text is.
    """
    found, before = describe_value(value), saved.get("contents")
    if found["type"] != saved.get("type"):
        return False
    if isinstance(before, str) and before.startswith(f"{_python()} ") and "contents" in found:
        return bool(before == found["contents"])
    return bool(found["text"] == saved.get("text"))


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
