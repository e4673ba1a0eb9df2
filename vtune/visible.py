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
