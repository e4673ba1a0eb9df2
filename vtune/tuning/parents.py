"""Ends a run whose refiner, a user's own, gives parents that cannot be, soon after it did."""

from __future__ import annotations

import jax
import numpy as np

from vtune.refine.base import Refiner
from vtune.results.history import check_parents
from vtune.runtime.watch import Standing, Watcher


class Parents(Watcher):
    """Looks at the parents of every round between segments.

    Raises:
      ValueError: see `check_parents`.
    """

    everywhere = True

    def segment(self, standing: Standing) -> str | None:
        for plan, carry in zip(standing.plan.cohorts, standing.carry, strict=True):
            parents = np.asarray(jax.device_get(carry.record.parents))
            check_parents(plan, parents, max(standing.first, 1), standing.done)
        return None


def parents_watcher(refiner: Refiner) -> Parents | None:
    """Returns what looks at parents; None for vtune's own refiners, which are trusted."""
    own = type(refiner).__module__.startswith("vtune.")
    return None if own or getattr(refiner, "idle", False) else Parents()
