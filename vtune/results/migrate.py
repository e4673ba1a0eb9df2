"""Sweeps that older versions saved, in the form of today.

2: no early stopping, folds, scaling or given weights; every member trained to the end.
3: the parts lie beside the manifest, arrays have names of their own. (version 0.1.0)
4: one commit; see `commit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vtune.results.storage import Arrays

OLDEST = 2


def migrated(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the manifest with the entries that its version did not have."""
    if manifest["version"] > 2:
        return manifest
    cohorts = [{"total_steps": cohort["steps"], **cohort} for cohort in manifest["cohorts"]]
    for cohort in cohorts:  # by the order of the space, as they were drawn
        cohort.setdefault("traced", None)
    return {"trainings": None, "scaling": [], "init_from": [], **manifest, "cohorts": cohorts}


def migrated_arrays(arrays: Arrays, rounds: int) -> Arrays:
    """Returns the arrays with those of early stopping, of which older versions had none."""
    parents = arrays["parents"]
    lived = np.sum(parents >= 0, axis=0).astype(np.int32)
    return {
        "ends": lived,
        "stopped": np.full_like(lived, -1),
        "budgets": np.full_like(lived, rounds),
        **arrays,
    }
