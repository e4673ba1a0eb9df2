"""Compares the hyperparameters that change between rounds with those that a training can follow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from vtune.callers import users_line
from vtune.engine.carry import Trajectory
from vtune.refine.base import Refiner
from vtune.runtime.check_learner import Inspection
from vtune.search.base import Cohort


def check_changes(
    inspections: Sequence[Inspection],
    cohorts: Sequence[Cohort],
    refiner: Refiner,
    trajectory: Trajectory | None,
    warn: bool = True,
) -> None:
    """Checks that hyperparameters which change between rounds count in the rounds that follow.

    Args:
      trajectory: the hyperparameters round by round, where these are known.
      warn: whether to warn of those that set the first weights only.

    Raises:
      ValueError: a changing hyperparameter would change what is recorded, and not the training.
    """
    who = "the schedule" if trajectory is not None else type(refiner).__name__
    for inspection, cohort in zip(inspections, cohorts, strict=True):
        held = inspection.held
        for name in _changing(cohort, refiner, trajectory):
            if name in held.frozen:
                raise ValueError(
                    f"{who} changes {name!r} between rounds, but {held.frozen[name]} is drawn with "
                    f"it in init and stays as it is in every step; keep what is drawn without "
                    f"h[{name!r}] in the state and apply h[{name!r}] in the step, or let it not "
                    f"change: {name!r}: vt.Categorical([...])"
                )
            if name in held.copied:
                raise ValueError(
                    f"{who} changes {name!r} between rounds, but it is read in init alone, which "
                    f"keeps it in {held.copied[name]}, and no step reads h[{name!r}]; read it in "
                    f"the step, or let it not change: {name!r}: vt.Categorical([...])"
                )
            if warn and name in held.starting:
                warnings.warn(
                    f"{who} changes {name!r} between rounds, but it sets the first weights only "
                    f"({held.starting[name]}): what it becomes is recorded and changes no "
                    f"training; to keep it as drawn, write {name!r}: vt.Categorical([...])",
                    stacklevel=users_line(),
                )


def _changing(cohort: Cohort, refiner: Refiner, trajectory: Trajectory | None) -> list[str]:
    """Returns the names of a cohort's hyperparameters that may change between rounds."""
    if trajectory is not None:
        return [n for n, v in trajectory.hparams.items() if len(v) and np.ptp(v, axis=0).any()]
    if getattr(refiner, "idle", False) or getattr(refiner, "keeps_hparams", False):
        return []
    return list(cohort.combination.traced)
