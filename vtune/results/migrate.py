"""Sweeps that older versions saved, in the form of today.

2: no early stopping, folds, scaling or given weights; every member trained to the end.
3: the parts lie beside the manifest, arrays have names of their own. (version 0.1.0)
4: one commit, see `commit`; what members are, but for their states, is among the arrays.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np

from vtune.results.storage import Arrays

OLDEST = 2
FLAT = 3  # the last version whose parts lie beside the manifest


def migrated(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest with the entries that its version did not have."""
    none: dict[str, Any] = {
        "trainings": None,
        "scaling": [],
        "init_from": [],
        "frozen": [],
        "left_out": {},
        "modes": [],
        "columns": {},
        "identity": None,
        "refiner": None,
        "stopping": None,
        "stopped": "interrupted",
        "call": None,
        "best": None,
        "search": None,
        "generation_size": None,
        "began_from": [],
        "objectives": [],
    }
    cohorts = manifest.get("cohorts")
    if isinstance(cohorts, list):
        cohorts = [_whole_cohort(cohort, manifest["version"]) for cohort in cohorts]
    return {**none, **manifest, "cohorts": cohorts}


def _whole_cohort(cohort: Any, version: int) -> Any:
    if not isinstance(cohort, dict):
        return cohort
    none: dict[str, Any] = {"past": [], "stretched": False, "by_fold": None}
    traced = cohort.get("traced")
    none["own_epochs"] = isinstance(traced, list) and "total_steps" in traced
    if version == OLDEST:
        none |= {"total_steps": cohort.get("steps"), "traced": None}
    return {**none, **cohort}


def migrated_arrays(manifest: Mapping[str, Any], arrays: Arrays, leaves: Arrays) -> Arrays:
    """Returns the arrays with those that older versions did not have, or had among the leaves of
    the populations.

    Args:
      manifest: migrated.
    """
    if manifest["version"] > FLAT:
        return arrays
    found = dict(arrays)
    for name, values in leaves.items():
        number, _, path = name.partition("/")
        if not path.startswith(".state"):
            found[f"end{number}/{_short(path)}"] = values
    parents = arrays.get("parents")
    if manifest["version"] == OLDEST and parents is not None and parents.ndim == 2:
        lived = np.sum(parents >= 0, axis=0).astype(np.int32)
        found |= {"ends": lived, "stopped": np.full_like(lived, -1)}
        found["budgets"] = np.full_like(lived, manifest["rounds"])
    return found


def _short(path: str) -> str:
    """ ".score" as "score", ".hparams['lr']" as "hparams/lr"."""
    if path.startswith(".hparams["):
        try:
            return f"hparams/{ast.literal_eval(path.removeprefix('.hparams[')[:-1])}"
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise ValueError(f"leaves={path!r}") from None
    return path.removeprefix(".")
