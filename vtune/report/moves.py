"""Whether a refiner copied weights, or changed settings."""

from __future__ import annotations

import numpy as np

from vtune.results.sweep import Sweep


def copies(sweep: Sweep) -> bool:
    """Returns whether weights of a member were copied to another: then they hang together."""
    parents = sweep.parents
    return bool(np.any((parents >= 0) & (parents != np.arange(parents.shape[1]))))


def changed(sweep: Sweep) -> bool:
    """Returns whether a member's hyperparameters were changed between rounds."""
    return any(
        bool(np.any((values != values[:1]) & ~np.isnan(values)))  # NaN once a member was dropped
        for values in sweep.settings.values()
    )
