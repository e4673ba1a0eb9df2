"""Schedules: the hyperparameters that one member's weights were trained with, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vtune.engine.plan import CohortPlan
from vtune.results.named import no_such
from vtune.results.trained import Trained


class Fixed(list):
    """One value repeated for every round; keeps it a single value when a schedule is copied."""


class Schedule(Mapping[str, Any]):
    """Hyperparameters by name, one value per round.

    Traced ones are arrays [rounds] in the program's type; structural and fixed ones are lists.
    `{**schedule, "lr": [...]}` makes a schedule with other learning rates.

    Attributes:
      traced: names of the hyperparameters that are arrays inside the program.
      options: how the weights were trained, which `vt.replay` reuses: steps (epochs where folds
        differ in them) and rounds as planned (a dropped member's schedule is shorter), batch_size,
        eval_batch_size, metric and mode.
    """

    def __init__(
        self, values: Mapping[str, Any], traced: tuple[str, ...], options: Mapping[str, Any]
    ):
        self._values = dict(values)
        self.traced = traced
        self.options = dict(options)

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise no_such(name, self._values)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Schedule({self._values!r})"


def by_epochs(plan: CohortPlan) -> bool:
    """Whether folds take different numbers of steps, all in the same number of epochs."""
    epochs = {fold.steps / fold.steps_per_epoch for fold in plan.by_fold or ()}
    return len({fold.steps for fold in plan.by_fold or ()}) > 1 and len(epochs) == 1


def schedule(trained: Trained, column: int) -> Schedule:
    """Returns the schedule of one member; see `Sweep.schedule`."""
    rounds = len(trained.records.lineage(column))
    values: dict[str, Any] = {}
    lived = trained.lived_settings(column)
    cohort = trained.places[column][0]
    plan, combination = trained.plan.cohorts[cohort], trained.cohorts[cohort].combination
    for name in trained.space.names:
        if name in combination.traced:
            values[name] = lived[name]
        elif name in combination.static:
            values[name] = Fixed([combination.static[name]] * rounds)
    planned = int(trained.records.budgets[column])
    steps = plan.steps * planned // trained.plan.rounds
    epochs = steps // (plan.steps_per_epoch or 1)
    options = {
        **({"epochs": epochs} if by_epochs(plan) else {"steps": steps}),
        "rounds": planned,
        "batch_size": plan.batch_size,
        "eval_batch_size": trained.plan.eval_batch_size,
        "metric": trained.plan.metric,
        "mode": trained.plan.mode,
    }
    return Schedule(values, tuple(combination.traced), options)
