"""Figures as SVG that stands inside a page: the same bytes for the same figure."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.report.html import Markup, escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DENSE, SPARSE = 60_000, 2_000  # bytes of a figure, and of a part of it that stays as it is
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # versions and dates
# What a page does not need, or has once for all figures.
_DROPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL
)
_TAG = re.compile(r"<[^>]*>")
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_WITHOUT_USE = re.compile(r' xmlns(:xlink)?="[^"]*"| version="1.1"')


@contextlib.contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draws with matplotlib's own settings, whatever the user's are, and puts the user's back.

    Args:
      name: of the figure, from which the names of its parts are made, else they were random.

    Raises:
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    try:
        from matplotlib.style import context
    except ImportError:
        raise ImportError("report needs matplotlib: pip install 'vtune[plot]'") from None
    ours = {"svg.hashsalt": name, "svg.fonttype": "none"}
    with context(["default", ours]), warnings.catch_warnings():
        # Of a letter that matplotlib's font lacks; a browser has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def svg_of(figure: Figure, name: str, title: str) -> Markup:
    """Returns a figure as an `<svg>` element.

    Args:
      name: as of `drawing`; no two figures of a page have the same. title: what is read aloud.
    """
    _as_pixels_where_dense(figure)
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=110 if len(figure.axes) < 5 else 80, metadata=NOTHING)
    text = _DROPPED.sub("", file.getvalue())
    text = _TAG.sub(lambda tag: _ID.sub(rf"\g<1>{name}-", tag.group()), text)
    head, rest = text.strip().split(">", 1)
    head = _WITHOUT_USE.sub("", head)
    lines = "\n".join(filter(None, map(str.strip, rest.splitlines())))
    return Markup(f'{head} role="img" aria-label="{escaped(title)}">{lines}')


def _as_pixels_where_dense(figure: Figure) -> None:
    """Has the points and lines of a figure stored as pixels where they are many, all panels
    together."""
    from matplotlib.collections import Collection

    collections = figure.findobj(Collection)
    lengths = [_length(one) for one in collections]
    if sum(lengths) > DENSE:
        for one, length in zip(collections, lengths, strict=True):
            if length > SPARSE:
                one.set_rasterized(True)


def _length(collection: Any) -> int:
    """About how many bytes of SVG a collection is: a hundred for a mark, 22 for a point of a
    line."""
    vertices = sum(len(path.vertices) for path in collection.get_paths())
    marks = np.shape(collection.get_offsets())[0]
    return 100 * marks if marks > 1 else 22 * vertices
