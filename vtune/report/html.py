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
    """Returns an element; a trailing or inner `_` of an attribute's name is left out or a dash."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{joined(inside)}</{name}>")


def joined(parts: Iterable[Any]) -> Markup:
    """Returns parts one after the other."""
    return Markup("".join(map(escaped, parts)))


def table(heads: Sequence[Any], rows: Iterable[Sequence[Any]], words: set[int], id: str) -> Markup:
    """Returns a table. End tags that HTML does not need are left out: a thousand rows are long.

    Args:
      words: the columns that are no numbers, so aligned at their left.
    """
    left = ", ".join(f"#{id} :is(td, th):nth-child({column + 1})" for column in sorted(words))
    style = element("style", Markup(f"{left} {{ text-align: left }}")) if left else Markup()
    head = element("thead", Markup("<tr>"), *(element("th", name, scope="col") for name in heads))
    body = Markup("\n".join("<tr>" + "".join(f"<td>{escaped(c)}" for c in row) for row in rows))
    return joined([style, element("table", head, element("tbody", body), id=id)])


def data_script(value: Any, id: str) -> Markup:
    """Returns a `<script>` that holds a value as JSON. No text in it can end the element: the
    letters that HTML looks for are written as JSON's escapes."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return element("script", Markup(text), type="application/json", id=id)
