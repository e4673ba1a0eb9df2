"""Figures as SVG that stands inside a page: the same bytes for the same figure."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vtune.report.html import Markup, escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY, LONG, SPARSE = 600, 6_000, 20  # marks; points of lines; those that stay as they are
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # versions and dates
# What a page does not need, or has once for all figures.
_DROPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL
)
_PNG = re.compile(r"(data:image/png;base64,)([\w+/=\s]*)")
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
    dpi = 110 if len(figure.axes) <= 4 else 64
    figure.savefig(file, format="svg", dpi=dpi, metadata=NOTHING)
    text = _DROPPED.sub("", file.getvalue())
    text = _PNG.sub(lambda found: found.group(1) + _fewer_colours(found.group(2)), text)
    text = _TAG.sub(lambda tag: _ID.sub(rf"\g<1>{name}-", tag.group()), text)
    head, rest = text.strip().split(">", 1)
    head = _WITHOUT_USE.sub("", head)
    lines = "\n".join(filter(None, map(str.strip, rest.splitlines())))
    return Markup(f'{head} role="img" aria-label="{escaped(title)}">{lines}')


def _fewer_colours(png: str) -> str:
    """Returns an image, as base64, in 32 colours: a third of the bytes, and nobody sees it."""
    from PIL import Image  # matplotlib's own needs it

    image, file = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    image.quantize(32, method=Image.Quantize.FASTOCTREE).save(file, format="png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _as_pixels_where_dense(figure: Figure) -> None:
    """Has the marks, or the lines, of a figure stored as pixels where they are many, all panels
    together."""
    from matplotlib.collections import LineCollection, PathCollection

    drawn = [one for axes in figure.axes for one in axes.collections]
    marks = {
        one: np.shape(one.get_offsets())[0] for one in drawn if isinstance(one, PathCollection)
    }
    lines = {
        one: sum(4 + np.shape(path.vertices)[0] for path in one.get_paths())
        for one in drawn
        if isinstance(one, LineCollection)
    }
    for sizes, most in ((marks, MANY), (lines, LONG)):
        for one, size in sizes.items():
            one.set_rasterized(size > SPARSE and sum(sizes.values()) > most)
