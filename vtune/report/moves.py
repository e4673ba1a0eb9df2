"""Whether a refiner copied weights, or changed settings."""

from __future__ import annotations

import numpy as np

from vtune.plots.lineage import copies
from vtune.results.sweep import Sweep


def copied(sweep: Sweep) -> bool:
    """Returns whether weights of a member were copied to another: then they hang together."""
    return len(copies(sweep.parents)) > 0


def changed(sweep: Sweep) -> bool:
    """Returns whether a member's hyperparameters were changed between rounds."""
    return any(
        bool(np.any((values != values[:1]) & ~np.isnan(values)))  # NaN once a member was dropped
        for values in sweep.settings.values()
    )
