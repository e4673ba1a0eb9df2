"""The way from a sweep to its plots, which read sweeps and so may not be imported here."""

from __future__ import annotations

import importlib
from typing import Any


def plots_of(sweep: Any) -> Any:
    """The plots of this sweep: `sweep.plot.axis("lr")` is `vt.plots.axis(sweep, "lr")`."""
    return importlib.import_module("vtune.plots.of_sweep").Plot(sweep)
