"""Several objectives: what `metric=("accuracy", "loss")` and `mode=("max", "min")` mean."""

from __future__ import annotations

import dataclasses
from typing import Any

from vtune.engine.plan import Plan
from vtune.results.costs import cost_mode, cost_names, costs_by_cohort
from vtune.runtime.check_learner import Inspection
from vtune.search.base import Cohort
from vtune.search.generations import Generations
from vtune.tuning.arguments import TuneArguments, check_learner, mode_of

MEASURED = "step_seconds"  # which compiles a step
WRITE = "vt.Generations(optuna.samplers.NSGAIISampler(population_size=64), size=64)"


def objectives_of(given: TuneArguments) -> tuple[TuneArguments, tuple[tuple[str, str], ...]]:
    """Returns the arguments with one metric, by which members are ranked, and the objectives.

    Of one objective nothing is changed, and there are none to tell of.

    Raises:
      TypeError, ValueError: several objectives cannot work with the other arguments.
    """
    if not isinstance(given.metric, tuple | list):
        if isinstance(given.mode, tuple | list):
            raise TypeError(
                f"mode={given.mode!r} is for several metrics, and metric={given.metric!r} is one; "
                'write mode="max" or mode="min"'
            )
        return given, ()
    check_learner(given.learner)
    names = list(given.metric)
    _check_names(names, given)
    modes = [None] * len(names) if given.mode is None else given.mode
    if not isinstance(modes, tuple | list) or len(modes) != len(names):
        raise ValueError(
            f'mode={given.mode!r} must have "max" or "min" for each of the {len(names)} metrics '
            f'{names}; write mode=("max", "min"), or leave it out where metrics say it themselves'
        )
    found = tuple((name, _mode(given, name, mode)) for name, mode in zip(names, modes, strict=True))
    name, mode = next(one for one in found if not _is_cost(given, one[0]))
    return dataclasses.replace(given, metric=name, mode=mode), found


def _mode(given: TuneArguments, name: str, mode: Any) -> str:
    if mode is None and _is_cost(given, name):
        return str(cost_mode(name))
    return mode_of(given.learner, name, mode)


def _is_cost(given: TuneArguments, name: str) -> bool:
    """Whether this is what members cost, and no metric of the learner's own."""
    return name in cost_names() and name not in dict(given.learner.modes)


def _check_names(names: list[Any], given: TuneArguments) -> None:
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise TypeError(f"metric={given.metric!r} must be different names of metrics")
    if len(names) < 2:
        instead = repr(names[0]) if names else '"loss"'
        raise ValueError(f"metric={given.metric!r} must name several; write metric={instead}")
    if all(_is_cost(given, name) for name in names):
        raise ValueError(f"metric={given.metric!r} names costs alone; name a metric too")
    if getattr(given.refiner, "objectives", ()):
        raise ValueError(
            f"metric={given.metric!r} names several metrics, and {type(given.refiner).__name__} is "
            f"given its own; metric= takes the one that sweep.best goes by: metric={names[0]!r}"
        )
    if not isinstance(given.search, Generations):
        raise ValueError(
            f"metric={given.metric!r} names several metrics, and only a search by generations has "
            f"several objectives; write search={WRITE}, or name one: metric={names[0]!r}, and "
            f"look at sweep.pareto({', '.join(map(repr, names))}) afterwards"
        )
    if given.refiner is not None and not getattr(given.refiner, "idle", False):
        raise ValueError(
            f"metric={given.metric!r} names several metrics, and {type(given.refiner).__name__} "
            f"ranks members by one; name one: metric={names[0]!r}, or leave refiner= out"
        )


def check_objectives(
    objectives: tuple[tuple[str, str], ...],
    plan: Plan,
    cohorts: tuple[Cohort, ...],
    inspections: tuple[Inspection, ...],
) -> None:
    """Raises ValueError where an objective is neither a recorded metric that is a single number,
    nor a cost that the learner says."""
    for name, _ in objectives:
        for inspection in inspections:
            known = [key for key, value in inspection.metrics.items() if value.shape == ()]
            if name not in known and name not in cost_names():
                raise ValueError(
                    f"metric: {name!r} is neither one of the learner's metrics that are single "
                    f"numbers, {known}, nor one of the costs {list(cost_names())}"
                )
        if name in cost_names() and name not in inspections[0].metrics and name != MEASURED:
            costs_by_cohort(plan, cohorts, name)
