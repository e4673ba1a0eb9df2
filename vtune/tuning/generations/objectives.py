"""What trials are told: one value, or one for each of several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vtune.results.costs import costs_of
from vtune.results.member import Member
from vtune.results.trained import Trained


class Objective(NamedTuple):
    """A column of values, and which of them are better: "max" or "min"."""

    name: str
    mode: str

    @property
    def direction(self) -> str:
        """As Optuna says it."""
        return "maximize" if self.mode == "max" else "minimize"


def told_values(trained: Trained, objectives: Sequence[Objective]) -> list[list[float] | None]:
    """Returns by member what its trial is told.

    A member that diverged, or whose value is not finite, is told the worst finite value of its
    generation: samplers that count complete trials, such as CMA-ES and NSGA-II, would otherwise
    wait for one in its place for ever. None where no member has a finite value.
    """
    values = np.stack([_column(trained, objective) for objective in objectives])
    died = [Member(trained, i).status.startswith("diverged") for i in range(values.shape[1])]
    bad = np.array(died) | ~np.isfinite(values).all(axis=0)
    if bad.all():
        return [None] * values.shape[1]
    for row, objective in zip(values, objectives, strict=True):
        worst = np.min if objective.mode == "max" else np.max
        row[bad] = worst(row[~bad])
    return values.T.tolist()


def _column(trained: Trained, objective: Objective) -> np.ndarray:
    """[members] with the weights that each member holds."""
    if objective.name not in trained.records.history:
        return costs_of(trained, objective.name).astype(np.float64)
    return trained.records.history[objective.name][trained.last_trained].astype(np.float64)
