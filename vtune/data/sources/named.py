"""Says in an error of a source's what was read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def reading(source: Any, entry: str | None = None) -> Iterator[None]:
    """Adds a note to an error: which source was read, and which entry of the data it is."""
    try:
        yield
    except Exception as error:
        of = described(source)
        error.add_note(f"of {of}" if entry is None else f"of {entry!r}, {of}")
        raise


def described(source: Any) -> str:
    """Returns a source's type, and its file where it says so: "memmap of x.npy"."""
    file = getattr(source, "filename", None)  # of a mapped file
    if file is None:
        file = getattr(getattr(source, "file", None), "filename", None)  # of h5py's
    kind = type(source).__name__
    return kind if file is None else f"{kind} of {file}"
