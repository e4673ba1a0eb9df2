"""A sweep as the trials of a study of Optuna's: what each has, in plain values. Needs no Optuna."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy as np

from vtune.log.rows import finite, plain
from vtune.results import Member, Sweep
from vtune.results.costs import costs_of
from vtune.results.pareto import objectives_of
from vtune.results.table import hparams_columns, table_columns
from vtune.studies.library import direction
from vtune.studies.ranges import Choices, Numbers, distribution_of, visible_names
from vtune.visible import visible

COMPLETE, PRUNED, FAIL = "COMPLETE", "PRUNED", "FAIL"  # states of Optuna's
OWN = ("member", "status", "parents", "settings")  # attributes of a trial beside the metrics


class Trial(NamedTuple):
    """A member.

    Attributes:
      state: COMPLETE; PRUNED where the refiner dropped it; FAIL where it diverged, or its score is
        NaN.
      values: of the objectives, with the weights that the member holds; None where one is NaN, and
        of failed ones.
      params: of the hyperparameters that it has, as `table()` has them: those of its last round.
      intermediate: the metric that members are compared by, by round from 0, where it is a number.
      attributes: its number, its status and its other metrics; where a refiner changed it, the
        parents and the settings of every round.
      share: of the sweep's time, until its last round.
    """

    state: str
    values: list[float] | None
    params: dict[str, Any]
    intermediate: dict[int, float]
    attributes: dict[str, Any]
    share: float


class Study(NamedTuple):
    """All members.

    Attributes:
      objectives: (name, "maximize" or "minimize"): the metric that members are compared by, or all
        where the sweep had several.
      distributions: by hyperparameter.
      attributes: of the study: fixed values and how far the sweep is.
      began, ended: local times. A sweep that does not say when it was ends now.
    """

    objectives: list[tuple[str, str]]
    distributions: dict[str, Numbers | Choices]
    trials: list[Trial]
    attributes: dict[str, Any]
    began: datetime.datetime
    ended: datetime.datetime


def exported(sweep: Sweep) -> Study:
    """Returns a sweep as a study, members in the order of the first population."""
    trained = sweep.trained
    distributions, fixed, params = _parameters(sweep)
    columns = table_columns(trained)
    objectives = _objectives(sweep, columns)
    keys = _attribute_keys(sweep, columns, {name for name, _, _ in objectives})
    trials = [
        Trial(
            *_outcome(member, [plain(values[column]) for _, _, values in objectives]),
            params=params[column],
            intermediate=_intermediate(sweep, column),
            attributes={
                "member": member.index,
                "status": member.status,
                **{key: finite(plain(columns[name][column])) for name, key in keys.items()},
                **_changes(sweep, column),
            },
            share=float(trained.lived[column] / trained.rounds),
        )
        for column, member in enumerate(sweep.members)
    ]
    return Study(
        [(visible(name), direction(mode)) for name, mode, _ in objectives],
        distributions,
        trials,
        {"rounds": trained.rounds, "planned rounds": trained.plan.rounds, "fixed": fixed},
        *_times(sweep),
    )


def _parameters(
    sweep: Sweep,
) -> tuple[dict[str, Numbers | Choices], dict[str, Any], list[dict[str, Any]]]:
    """Returns the distributions by name, the fixed values, and every member's parameters."""
    space = sweep.space
    raw = [member.hparams for member in sweep]
    distributions: dict[str, Numbers | Choices] = {}
    fixed: dict[str, Any] = {}
    params: list[dict[str, Any]] = [{} for _ in raw]
    for name, shown in visible_names(space.names).items():
        entries = [part[name] for part in space.parts if name in part]
        found = [values[name] for values in raw if name in values]
        distribution = distribution_of(entries, found)
        if distribution is None:
            fixed[shown] = finite(plain(entries[0]))
            continue
        distributions[shown] = distribution
        for values, own in zip(raw, params, strict=True):
            if name in values:
                own[shown] = distribution.value(values[name])
    return distributions, fixed, params


def _objectives(sweep: Sweep, columns: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """The name, the mode and the members' values of each objective.

    What a step costs is not known of a sweep that was read without its learner, and is left out.
    """
    trained = sweep.trained
    found: list[tuple[str, str, Any]] = []
    for name, mode in objectives_of(trained):
        if name in columns:
            found.append((name, mode, columns[name]))
        elif trained.lacks is None:
            found.append((name, mode, costs_of(trained, name)))
    if len(found) > 1:
        return found
    return [(sweep.metric_name, sweep.mode, columns[sweep.metric_name])]


def _outcome(member: Member, values: list[float]) -> tuple[str, list[float] | None]:
    """The state and the values. Optuna takes no NaN, and no values of a failed trial."""
    known = None if np.isnan(values).any() else values
    if member.status.startswith("diverged"):
        return FAIL, None
    if member.status.startswith("dropped"):
        return PRUNED, known
    return (FAIL, None) if known is None else (COMPLETE, known)


def _intermediate(sweep: Sweep, column: int) -> dict[int, float]:
    values = sweep.history[sweep.metric_name][:, column]
    there = sweep.trained.records.trained[:, column] & ~np.isnan(values)
    return {int(number): plain(values[number]) for number in np.flatnonzero(there)}


def _attribute_keys(sweep: Sweep, columns: dict[str, Any], objectives: set[str]) -> dict[str, str]:
    """The columns of the table that have no place of their own, and the attributes they are."""
    placed = {*hparams_columns(sweep.trained).values(), *objectives, "status"}
    names = [name for name in columns if name not in placed]
    return {name: f"metrics/{name}" if name in OWN else visible(name) for name in names}


def _changes(sweep: Sweep, column: int) -> dict[str, Any]:
    """What a refiner did to a member, round by round; empty where it did nothing."""
    records, trained = sweep.trained.records, sweep.trained
    there = np.flatnonzero(records.trained[:, column])
    parents = records.parents[there, column]
    combination = trained.cohorts[trained.places[column][0]].combination
    settings = {
        name: [
            distribution.report(v) for v in distribution.cast(sweep.settings[name][there, column])
        ]
        for name, distribution in combination.traced.items()
    }
    changed = any(len(set(values)) > 1 for values in settings.values())
    if not changed and (parents == column).all():
        return {}
    return {"parents": parents.tolist(), "settings": settings}


def _times(sweep: Sweep) -> tuple[datetime.datetime, datetime.datetime]:
    """When the sweep began and ended, as Optuna has it: local time, without its zone."""
    said = (sweep.trained.provenance or {}).get("date")
    took = datetime.timedelta(seconds=sweep.timing.run)
    try:
        ended = datetime.datetime.fromisoformat(str(said)).astimezone().replace(tzinfo=None)
        return ended - took, ended
    except (ValueError, OverflowError):
        ended = datetime.datetime.now()
        return ended - took, ended
