"""The way from a sweep to its plots and its report, which read sweeps and so may not be imported
here."""

from __future__ import annotations

import importlib
import os
from typing import Any


def plots_of(sweep: Any) -> Any:
    """The plots of this sweep: `sweep.plot.axis("lr")` is `vt.plots.axis(sweep, "lr")`."""
    return importlib.import_module("vtune.plots.of_sweep").Plot(sweep)


def write_report(self: Any, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Writes a page that says what was run and what came of it, as one file of HTML.

        sweep.report("runs/first.html")

    It holds what the numbers advise, the best settings with their spread over folds and seeds, the
    pictures of `vt.plots` that make sense for the sweep, the table of all members, which a click
    sorts, and the history as JSON for others. It needs no network and no other file. The same
    sweep makes the same bytes, with the same versions of vtune and matplotlib.

    Args:
      path: of the file; folders above it are made. overwrite: whether a file there is replaced.

    Raises:
      FileExistsError: the file is there already. OSError: it cannot be written.
      TypeError, ValueError: an argument cannot work.
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    importlib.import_module("vtune.report.file").write(self, path, overwrite)
