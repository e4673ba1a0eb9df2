"""One member's weights trained again, alone, along their lineage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.data.scaling import check_scaling
from vtune.engine.carry import Arguments, Trajectory
from vtune.engine.plan import CohortPlan, Plan, describe
from vtune.refine.keep import Keep
from vtune.results.member import Member
from vtune.results.schedule import Fixed, Schedule
from vtune.runtime.compile import inspect
from vtune.runtime.execute import execute
from vtune.search.base import Cohort
from vtune.space.traced import program_space

if TYPE_CHECKING:
    from vtune.results.sweep import Sweep


def schedule_of(sweep: Sweep, index: int) -> Schedule:
    """See `Sweep.schedule`."""
    member = sweep[index]
    path = sweep._records.lineage(member._column)
    cohort = member._place[0]
    plan, combination = sweep._plan.cohorts[cohort], sweep._cohorts[cohort].combination
    rounds, values = len(path), {}
    for name in sweep.space.names:
        if name in combination.traced:
            dtype = dict(plan.traced)[name]
            values[name] = sweep.settings[name][np.arange(rounds), path].astype(dtype)
        elif name in combination.static:
            values[name] = Fixed([combination.static[name]] * rounds)
    planned = int(sweep._records.budgets[member._column])
    options = {
        "steps": plan.steps * planned // sweep._plan.rounds,
        "rounds": planned,
        "batch_size": plan.batch_size,
        "eval_batch_size": sweep._plan.eval_batch_size,
        "metric": sweep._plan.metric,
        "mode": sweep.mode,
    }
    return Schedule(values, tuple(combination.traced), options)


def rerun(sweep: Sweep, index: int, data: Data | None) -> Member:
    """See `Sweep.rerun`."""
    from vtune.results.sweep import finish

    member = sweep[index]
    data = data if data is not None else sweep.data
    cohort = member._place[0]
    own, drawn = sweep._plan.cohorts[cohort], sweep._cohorts[cohort]
    if data is None and own.batch_size is not None:
        raise ValueError("rerun: a loaded sweep holds no data; give rerun(i, data=...)")
    check_data("rerun", sweep, own, data)
    lineage, rounds = sweep.lineage(index), np.arange(len(sweep.lineage(index)))
    lived = {
        name: sweep.settings[name][rounds, lineage].astype(dtype) for name, dtype in own.traced
    }
    path = path_of(lineage, lived, sweep._plan.rounds)
    alone = starting(drawn, path)
    plan, arguments = prepare_alone(sweep._plan, own, drawn, sweep.seed, data, path)
    arguments = arguments._replace(weights=sweep._weights)
    plan = dataclasses.replace(plan, arguments=describe(arguments), stopping=None)
    _check_stretched(plan)
    outcome = execute(plan, (alone,), arguments, stop_after=len(lineage))
    ended = sweep._records.stopped[member._column] >= 0
    stopped = "dropped" if member._dropped else "stopped" if ended else sweep._stopped
    again = finish(plan, sweep.space, (alone,), arguments, outcome, stopped)
    return Member(again, 0)


def check_data(what: str, sweep: Sweep, own: CohortPlan, data: Data | None) -> None:
    """Raises where data are not like those that a cohort was trained on.

    Args:
      what: is to be done with them.
    """
    if data is not None and own.batch_size is not None:
        folds = sweep._plan.replicates
        if (data.folds if isinstance(data, Folds) else None) != (
            folds.folds if folds is not None and folds.folded else None
        ):
            raise ValueError(f"{what}: the data are in other folds than those of the sweep")
        steps = data.train_rows // own.batch_size
        if steps != own.steps_per_epoch:
            raise ValueError(
                f"{what}: the data give {steps} steps an epoch, the sweep had "
                f"{own.steps_per_epoch}; give the data it was trained on"
            )
    if data is not None and sweep._scaling:
        check_scaling(what, sweep._scaling, data)


def _check_stretched(plan: Plan) -> None:
    """Raises where a member cannot be trained again, since its schedule changed on the way."""
    if plan.cohorts[0].stretched and "total_steps" in inspect(plan)[0].reads:
        raise ValueError(
            "rerun: tune(start=) made the sweep longer than it was begun, and with it "
            'h["total_steps"], which the learner reads: a member cannot be trained again in one go'
        )


def path_of(ids: np.ndarray, hparams: Mapping[str, np.ndarray], rounds: int) -> Trajectory:
    """A path of `rounds` rounds for a population of one; the last known round repeats."""
    number = np.minimum(np.arange(rounds), len(ids) - 1)
    values = {name: np.asarray(own)[number][:, None] for name, own in hparams.items()}
    return Trajectory(np.asarray(ids, np.int32)[number][:, None], values)


def starting(cohort: Cohort, path: Trajectory) -> Cohort:
    """The cohort of one that goes this way, before its first round."""
    return cohort._replace(id=path.id[0], hparams={k: v[0] for k, v in path.hparams.items()})


def prepare_alone(
    plan: Plan, cohort: CohortPlan, drawn: Cohort, seed: int, data: Data | None, path: Trajectory
) -> tuple[Plan, Arguments]:
    """The plan and arguments of one member's solo run."""
    refiner = Keep()
    alone = dataclasses.replace(cohort, size=1, rungs=refiner.rungs(1, plan.rounds))
    space = (program_space(drawn.combination.traced),)
    arguments = Arguments(np.uint32(seed), space, refiner, data, path)
    layout = dataclasses.replace(plan.layout, devices=1)
    alone_plan = dataclasses.replace(
        plan,
        cohorts=(alone,),
        layout=layout,
        arguments=describe(arguments),
        past=0,
        anew=False,
    )
    return alone_plan, arguments
