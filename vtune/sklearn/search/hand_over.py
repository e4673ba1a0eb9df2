"""Which searches vtune trains itself; all others are left to scikit-learn's own code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.pipeline import Pipeline

from vtune.sklearn.estimators.base import Estimator
from vtune.sklearn.search.candidates import final_estimator


def is_ours(estimator: Any) -> bool:
    """Whether this is one of vtune.sklearn's estimators itself. A subclass is not: its own methods
    would not be called."""
    return isinstance(estimator, Estimator) and type(estimator).__module__.split(".")[0] == "vtune"


def trains_all(search: Any) -> bool:
    """Whether every candidate of a search is, or ends with, one of vtune.sklearn's estimators.

    Args:
      search: one of the four, before it is fitted. The last step of its pipeline may be set by the
        candidates.
    """
    grids = getattr(search, "param_grid", getattr(search, "param_distributions", None)) or {}
    steps = search.estimator.steps if isinstance(search.estimator, Pipeline) else [(None, None)]
    if not isinstance(grids, Mapping | list) or not steps:
        return False  # scikit-learn says what is wrong
    grids, name = [grids] if isinstance(grids, Mapping) else grids, steps[-1][0]
    for grid in grids or [{}]:
        finals = grid.get(name) if isinstance(grid, Mapping) else None
        if finals is None:
            finals = [final_estimator(search.estimator)]
        if not isinstance(finals, Iterable) or not all(map(is_ours, finals)):
            return False
    return True
