"""Text that can be shown: names come from users and may hold anything."""

from __future__ import annotations

from typing import Any


def visible(text: Any) -> str:
    """Returns text with its control characters and lone surrogates written out.

    They would move a terminal's cursor or change its colours; a file in UTF-8 cannot hold the
    latter, nor can matplotlib draw them.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def in_utf8(text: str) -> str:
    """Returns text that a file in UTF-8 can hold: as it is, or else as `visible` writes it."""
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return visible(text)
    return text
