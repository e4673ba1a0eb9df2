"""The plan of a cohort that is trained further: as it would be if the sweep had been longer."""

from __future__ import annotations

import dataclasses

import numpy as np

from vtune.engine.plan import CohortPlan
from vtune.engine.stepping import round_boundaries
from vtune.hparams import Static
from vtune.refine.base import Refiner, Rung
from vtune.results.trained import Trained
from vtune.tuning.duration import TrainingLength, checked_steps
from vtune.tuning.prepare import rungs_of


def longer_cohort(
    trained: Trained,
    number: int,
    added: TrainingLength,
    rounds: int,
    refiner: Refiner | None,
    as_planned: bool,
) -> CohortPlan:
    """Returns the plan of a cohort that is trained further, in so many more rounds.

    Args:
      number: of the cohort. added: how much longer. refiner: of the new rounds; None where members
        were dropped.
      as_planned: whether the sweep's own refiner goes on.

    Raises:
      ValueError: the folds' steps do not fit, or the sweep would end before its rungs do.
    """
    before = trained.plan.cohorts[number]
    boundaries = round_boundaries(before, trained.plan.rounds)[1 : trained.rounds + 1]
    by_fold = added.by_fold
    if by_fold is None:
        past = tuple(boundaries.tolist())
        total = checked_steps(past[-1] + added.steps)
    else:
        past = tuple(map(tuple, boundaries.tolist()))
        by_fold = tuple(
            fold._replace(steps=done + fold.steps)
            for done, fold in zip(past[-1], by_fold, strict=True)
        )
        total = max(fold.steps for fold in by_fold)
        if "total_steps" in before.static.value and min(fold.steps for fold in by_fold) < total:
            raise ValueError(
                "extend: the sweep was given steps=, the same for all folds, and its folds differ "
                "in the steps of an epoch; give steps= again instead of epochs="
            )
    static = {**before.static.value}
    stretched = before.stretched or static.get("total_steps", total) != total
    stretched |= by_fold != before.by_fold
    if "total_steps" in static:
        static["total_steps"] = total
    if as_planned:
        rungs = _planned_rungs(before.rungs, trained.rounds, rounds)
    elif refiner is None:
        rungs = _last_rung_longer(before.rungs, trained.rounds, rounds)
    else:
        first, *others = rungs_of(trained.cohorts[number], rounds, refiner)
        rungs = (Rung(first.size, trained.rounds + first.rounds), *others)
    return dataclasses.replace(
        before,
        static=Static(static),
        steps=total,
        rungs=rungs,
        past=past,
        stretched=stretched,
        by_fold=by_fold,
    )


def _planned_rungs(rungs: tuple[Rung, ...], past: int, more: int) -> tuple[Rung, ...]:
    """The rungs as planned when the sweep began, the last of them longer where there are more
    rounds.

    Raises:
      ValueError: an interrupted sweep would end before all members are dropped that should be.
    """
    planned = sum(rung.rounds for rung in rungs)
    if past + more < planned and len(rungs) > 1:
        raise ValueError(
            f"extend: the sweep was interrupted after {past} of {planned} rounds, and its refiner "
            f"drops members on the way; extend it by {planned - past} rounds or more, so that it "
            "ends as it would have (or give refiner=vt.refine.Keep(), to drop no more)"
        )
    *others, last = rungs
    return (*others, Rung(last.size, last.rounds + past + more - planned))


def _last_rung_longer(rungs: tuple[Rung, ...], past: int, more: int) -> tuple[Rung, ...]:
    """The rungs of the `past` rounds that were run, the last of them `more` rounds longer."""
    ends = np.cumsum([rung.rounds for rung in rungs])
    last = int(np.searchsorted(ends, past))
    begun = int(ends[last]) - rungs[last].rounds
    return (*rungs[:last], Rung(rungs[last].size, past + more - begun))
