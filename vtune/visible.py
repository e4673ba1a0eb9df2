"""Text that can be shown: names come from users and may hold anything, errors many lines."""

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


def in_one_line(error: BaseException) -> str:
    """Returns the text of an error, of which there may be many lines, in 200 characters at most."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
