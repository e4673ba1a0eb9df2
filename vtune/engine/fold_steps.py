"""Folds that differ in size: each takes the steps of its own epochs, as if it were trained alone.

A fold's steps are counted from 0, whatever the others do. Its keys, its shuffles, its rounds and
its schedules go by that count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vtune.data.dataset import Data
from vtune.engine.plan import CohortPlan
from vtune.engine.replicates import Replicate
from vtune.types import Array


class FoldLengths(NamedTuple):
    """How long every fold trains.

    Attributes:
      steps_per_epoch: [folds] int32.
      steps: [folds] int32, of the whole training; None where members have their own epochs.
    """

    steps_per_epoch: Array
    steps: Array | None


def fold_lengths(cohort: CohortPlan, data: Data | None) -> FoldLengths | None:
    """Returns how long every fold trains; None where all folds take the same, known steps."""
    if data is None or cohort.batch_size is None:
        return None
    if data.traced_sizes is not None:
        epochs = cohort.steps // (cohort.steps_per_epoch or 1)
        per_epoch = data.steps_by_fold(cohort.batch_size)
        return FoldLengths(per_epoch, per_epoch * epochs)
    if cohort.by_fold is None:
        return None
    per_epoch, steps = np.array(cohort.by_fold, np.int32).T
    return FoldLengths(jnp.asarray(per_epoch), None if cohort.own_epochs else jnp.asarray(steps))


def of_fold(values: Any, replicate: Replicate | None) -> Any:
    """Returns a replicate's own value out of those of all folds; a single number is everybody's."""
    return values if replicate is None or jnp.ndim(values) == 0 else values[replicate.fold]


def with_own_lengths(
    cohort: CohortPlan,
    lengths: FoldLengths | None,
    traced: dict[str, Any],
    replicate: Replicate | None,
) -> dict[str, Any]:
    """Returns a member's traced values with the step counts of the replicate's fold."""
    if lengths is None or replicate is None:
        return traced
    per_epoch = lengths.steps_per_epoch[replicate.fold]
    own = {"steps_per_epoch": per_epoch}
    if lengths.steps is None:
        own["total_steps"] = traced["total_steps"] // (cohort.steps_per_epoch or 1) * per_epoch
    elif "total_steps" in traced:  # elsewhere all folds take the same, a plain number
        own["total_steps"] = lengths.steps[replicate.fold]
    return {**traced, **own}
