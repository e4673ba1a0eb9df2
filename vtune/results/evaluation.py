"""Metrics of all members on test rows or on new data: one program for the whole population."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from vtune.caches import bounded_cache
from vtune.engine import evaluate as engine
from vtune.engine.apply_refiner import leading_slots
from vtune.engine.carry import Arguments
from vtune.engine.layout import sharding
from vtune.engine.plan import Plan, describe
from vtune.engine.population import Population
from vtune.engine.recording import SPLITS
from vtune.engine.replicates import split_replicates
from vtune.engine.stepping import round_boundaries
from vtune.results.named import no_such
from vtune.results.new_rows import rows_to_score
from vtune.results.no_score import no_finite_score
from vtune.results.states import states_held
from vtune.results.table import html_of, import_pandas, std_of_splits
from vtune.results.trained import Trained
from vtune.runtime import processes
from vtune.runtime.check_learner import check_labels, lookups_of, weighings_of
from vtune.runtime.check_ranges import check_ranges
from vtune.runtime.check_weights import check_weights
from vtune.runtime.compilation_cache import use_cache
from vtune.runtime.compile import argument_shapes, outputs
from vtune.runtime.hosted import is_here
from vtune.runtime.placement import placed, placed_arguments
from vtune.types import PyTree
from vtune.validation import check_untraced

if TYPE_CHECKING:
    import pandas

SIDE_BY_SIDE = 8  # where members trained in chunks as memory allowed


class Evaluation(Mapping[str, np.ndarray]):
    """What the members of a sweep score on other rows: a metric by name, `[members, ...]`.

    NaN for members that diverged or hold no weights. With several folds or seeds it is the mean,
    and `evaluation["<metric>/splits"]` has all values, `[members, folds, seeds, ...]`.

    Attributes:
      rows: how many rows were scored. metric_name: what the members of the sweep are compared by.
      best: the index of the sweep's best member; None where there is none.
    """

    def __init__(
        self, values: dict[str, np.ndarray], rows: int, metric_name: str, best: int | None = None
    ):
        self._values = values
        self.rows = rows
        self.metric_name = metric_name
        self.best = best

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._values:
            raise no_such(name, self._values)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def table(self) -> pandas.DataFrame:
        """One row per member; of scalar metrics `m`, the sweep's first, and `m/std`, the standard
        deviation over folds and seeds, where there are several.

        Raises:
          ImportError: pandas is not installed (the extra `plot`).
        """
        pandas = import_pandas("Evaluation.table()")
        columns = {}
        for name in sorted(self, key=lambda name: name != self.metric_name):
            if self[name].ndim == 1:
                columns[name] = self[name]
                if name + SPLITS in self:
                    columns[f"{name}/std"] = std_of_splits(self[name + SPLITS])
        members = len(self[self.metric_name])
        return pandas.DataFrame(columns, index=pandas.RangeIndex(members, name="member"))

    def _repr_html_(self) -> str | None:
        return html_of(self.table)

    def __repr__(self) -> str:
        names = [name for name in self if not name.endswith(SPLITS)]
        compared = self[self.metric_name]
        said = f"{len(compared)} members on {self.rows} rows: {', '.join(names)}"
        if self.best is not None:
            said += f"; the best, member {self.best}: {self.metric_name} {compared[self.best]:.4g}"
        return f"Evaluation({said})"


def evaluate(trained: Trained, given: Any) -> Evaluation:
    """Scores every member on rows; see `Sweep.evaluate`."""
    check_untraced("evaluate")
    trained.check_whole()
    data, rows = rows_to_score(trained, given)
    shared = trained.weights if trained.plan.learner.share is not None else None
    arguments = Arguments(np.uint32(trained.seed), (), None, data, weights=shared)
    here = all(is_here(population.state) for population in trained.populations)
    plan = _plan(trained, arguments, rows, alone=here and processes.several())
    if given is not None and given is not trained.data:  # whose labels were checked in training
        for predicted in outputs(plan):
            check_labels(plan.learner, predicted, data)
        shapes = argument_shapes(plan)
        check_ranges((lookups_of(plan, c, shapes) for c in plan.cohorts), data)
        weighings = (weighings_of(plan, c, shapes) for c in plan.cohorts)
        check_weights(weighings, data, {False: "rows"})
    ends = tuple(round_boundaries(cohort, plan.rounds)[trained.rounds] for cohort in plan.cohorts)
    use_cache()
    kept, parents = trained.plan.keeps_best, trained.records.parents
    held = tuple(states_held(kept, trained.columns_of(p.id), parents) for p in trained.populations)
    score, populations = _program(plan, held), trained.populations
    if not here:
        processes.meet("evaluate")
        place = sharding(plan.layout, None)
        populations = placed(populations, jax.tree.map(lambda _: place, populations))
        arguments = placed_arguments(arguments, plan.layout)
    by_cohort = jax.tree.map(np.asarray, score(populations, ends, arguments))
    best = None if no_finite_score(trained) else int(trained.ranking[0])
    return Evaluation(_by_member(trained, by_cohort), rows, trained.metric_name, best)


def _plan(trained: Trained, arguments: Arguments, rows: int, alone: bool) -> Plan:
    """Returns the plan of the program that scores: that of the sweep, with these rows.

    Args:
      alone: whether one of several processes scores members that it has all, as of a loaded sweep.
    """
    plan = trained.plan
    layout = plan.layout
    if alone:
        layout = dataclasses.replace(layout, devices=1)  # other processes' are not its own
    if layout.chunk == "fit":
        layout = dataclasses.replace(layout, chunk=SIDE_BY_SIDE)
    size = min(plan.eval_batch_size or rows, rows)
    return dataclasses.replace(
        plan, eval_batch_size=size, layout=layout, arguments=describe(arguments)
    )


@bounded_cache(8, lambda plan, held: plan.reads())
def _program(plan: Plan, held: tuple[int, ...]) -> Callable[..., Any]:
    """Returns the jitted function of all cohorts that scores their members.

    Args:
      held: by cohort, how many leading slots hold weights.
    """

    def score(populations: tuple[Population, ...], ends: Any, arguments: Arguments) -> PyTree:
        scored = []
        for cohort, population, size, end in zip(
            plan.cohorts, populations, held, ends, strict=True
        ):
            part = leading_slots(population, size)
            scored.append(engine.evaluate(plan, [cohort], [part], end, arguments)[0][1])
        return scored

    place = sharding(plan.layout, None) if processes.several() else None
    return jax.jit(score, out_shardings=place)


def _by_member(trained: Trained, by_cohort: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Returns the metrics by member, with the means over their trainings, from those by slot."""
    replicates, died = trained.plan.replicates, [np.asarray(p.died) for p in trained.populations]
    values: dict[str, np.ndarray] = {}
    for name in sorted(by_cohort[0]):
        parts = [np.asarray(metrics[name], np.float64) for metrics in by_cohort]
        merged = np.full((len(trained.places), *parts[0].shape[1:]), np.nan)
        for column, (cohort, slot) in enumerate(trained.places):
            if trained.has_state(column) and died[cohort][slot] < 0:
                merged[column] = parts[cohort][slot]
        if replicates is None:
            values[name] = merged
        else:
            values[name] = merged.mean(axis=1)
            values[name + SPLITS] = split_replicates(replicates, merged, 1)
    return values
