"""HTML out of text: whatever is not marked as HTML is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from vtune.visible import visible


class Markup(str):
    """Text that is HTML. Only this module and fixed texts of the page make it."""


def escaped(value: Any) -> Markup:
    """Returns a value as HTML: markup as it is, all else as text that shows just itself."""
    return value if isinstance(value, Markup) else Markup(html.escape(visible(value)))


def element(name: str, *inside: Any, **attributes: str) -> Markup:
    """Returns an element. In names of attributes `_` stands for a dash, and at the end for
    nothing: `class_`."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{joined(inside)}</{name}>")


def joined(parts: Iterable[Any]) -> Markup:
    """Returns parts one after the other."""
    return Markup("".join(map(escaped, parts)))


def table(heads: Sequence[Any], rows: Iterable[Sequence[Any]], words: set[int], id: str) -> Markup:
    """Returns a table that scrolls where it is large. End tags that HTML does not need are left
    out: a thousand rows are long.

    Args:
      words: the columns that are no numbers, so aligned at their left.
    """
    sides = [" class=words" if column in words else "" for column in range(len(heads))]

    def row_of(tag: str, cells: Sequence[Any]) -> str:
        pairs = zip(sides, cells, strict=True)
        return "<tr>" + "".join(f"<{tag}{side}>{escaped(cell)}" for side, cell in pairs)

    head = element("thead", Markup(row_of("th", heads)))
    body = element("tbody", Markup("\n".join(row_of("td", row) for row in rows)))
    whole = element("table", head, body, id=id)
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=id)


def data_script(value: Any, id: str) -> Markup:
    """Returns a `<script>` that holds a value as JSON. No text in it can end the element: the
    letters that HTML looks for are written as JSON's escapes."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return element("script", Markup(text), type="application/json", id=id)
