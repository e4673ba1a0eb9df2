"""`Sweep.rerun`: trains one member of a finished sweep again, alone, along its lineage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments, Trajectory
from vtune.engine.layout import devices_for
from vtune.engine.plan import Plan, describe
from vtune.refine.keep import Keep
from vtune.results.beginnings import begun_with
from vtune.results.given_data import check_repeats, usable_data
from vtune.results.member import Member
from vtune.results.trained import Trained, finish
from vtune.runtime.compile import inspect
from vtune.runtime.execute import execute
from vtune.search.base import Cohort
from vtune.space.traced import program_space
from vtune.types import PyTree


def rerun(trained: Trained, column: int, data: Data | None) -> Member:
    """Trains one member again; see `Sweep.rerun`."""
    trained.check_whole()
    data = usable_data("rerun", trained, data)
    check_repeats("rerun", data)
    number = trained.places[column][0]
    lineage = trained.records.lineage(column)
    trajectory = trajectory_of(lineage, trained.lived_settings(column), trained.plan.rounds)
    start = cohort_at_start(trained.cohorts[number], trajectory)
    weights = begun_with("rerun", trained, [column])
    plan, arguments = plan_again(
        trained, (start,), [number], trained.seed, data, trajectory, weights, stopping=None
    )
    _check_total_steps(plan)
    outcome = execute(plan, (start,), arguments, stop_after=len(lineage)).complete()
    stopped = trained.stopped
    if trained.dropped(column):
        stopped = "dropped"
    elif trained.records.stopped[column] >= 0:
        stopped = "stopped"
    return Member(finish(plan, trained.space, (start,), arguments, outcome, stopped), 0)


def _check_total_steps(plan: Plan) -> None:
    """Raises ValueError where a learner reads `total_steps` and an extension changed it."""
    if plan.cohorts[0].stretched and "total_steps" in inspect(plan)[0].reads:
        raise ValueError(
            "rerun: vt.extend(sweep, ...) made the sweep longer, and with it "
            'h["total_steps"], which the learner reads: a member cannot be trained again in one go'
        )


def trajectory_of(ids: np.ndarray, hparams: Mapping[str, np.ndarray], rounds: int) -> Trajectory:
    """Returns the trajectory of a population of one; the last known round repeats up to `rounds`.

    Args:
      ids: [known rounds] the member whose keys are used. hparams: by name, [known rounds].
    """
    number = np.minimum(np.arange(rounds), len(ids) - 1)
    columns = {name: np.asarray(values)[number][:, None] for name, values in hparams.items()}
    return Trajectory(np.asarray(ids, np.int32)[number][:, None], columns)


def cohort_at_start(cohort: Cohort, trajectory: Trajectory) -> Cohort:
    """Returns the cohort of one that follows this trajectory, before its first round."""
    return cohort._replace(
        id=trajectory.id[0], hparams={k: v[0] for k, v in trajectory.hparams.items()}
    )


def plan_again(
    trained: Trained,
    cohorts: tuple[Cohort, ...],
    numbers: Sequence[int],
    seed: int,
    data: Data | None,
    trajectory: Trajectory | None,
    weights: PyTree,
    **changes: Any,
) -> tuple[Plan, Arguments]:
    """Returns the plan and the arguments of members that are trained again, without a refiner.

    Args:
      numbers: by cohort, that of the sweep's which they were in. weights: that they begin with.
      changes: of the sweep's plan.
    """
    plan, refiner = trained.plan, Keep()
    space = tuple(program_space(cohort.combination.traced) for cohort in cohorts)
    arguments = Arguments(np.uint32(seed), space, refiner, data, trajectory, weights)
    sizes = [len(cohort.id) for cohort in cohorts]
    layout = dataclasses.replace(
        plan.layout, devices=devices_for(max(sizes), plan.layout.devices or 1)
    )
    plans = tuple(
        dataclasses.replace(plan.cohorts[number], size=size, rungs=refiner.rungs(size, plan.rounds))
        for number, size in zip(numbers, sizes, strict=True)
    )
    again = dataclasses.replace(
        plan,
        cohorts=plans,
        layout=layout,
        arguments=describe(arguments),
        **{"past": 0, "anew": False, **changes},
    )
    return again, arguments
