"""What members cost by name: parameters, operations and seconds of a step. One number a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from vtune.engine.plan import CohortPlan, Plan, shapes_of
from vtune.engine.stepping import batch_shapes
from vtune.results.states import batch_of
from vtune.results.trained import Trained
from vtune.runtime.step_costs import COSTS, OneTraining
from vtune.search.base import Cohort
from vtune.types import PyTree


def cost_names() -> tuple[str, ...]:
    """Returns the names of the costs; lower is better, see `cost_mode`."""
    return tuple(COSTS)


def cost_mode(name: str) -> str | None:
    """Returns "min" or "max" for the name of a cost; None for another name."""
    return COSTS[name].mode if name in COSTS else None


def costs_of(trained: Trained, name: str) -> np.ndarray:
    """Returns a cost of every member, [members].

    Raises:
      ValueError: the sweep was read without its learner, or the learner does not say it.
    """
    trained.check_whole()
    by_cohort = costs_by_cohort(trained.plan, trained.cohorts, name, trained.rows, trained.weights)
    return by_cohort[[cohort for cohort, _ in trained.places]]


def costs_by_cohort(
    plan: Plan,
    cohorts: Sequence[Cohort],
    name: str,
    rows: Mapping[str, Any] | None = None,
    weights: PyTree = None,
) -> np.ndarray:
    """Returns a cost of every cohort's members, [cohorts].

    "step_seconds" is measured, once for a plan and a space; the others compile nothing.

    Args:
      cohorts: as drawn; any generation's will do.
      rows, weights: see `Trained`; the plan says them where it was made for a run.
    """
    of = COSTS[name].of
    pairs = zip(plan.cohorts, cohorts, strict=True)
    return np.array([of(_training(plan, own, drawn, rows, weights)) for own, drawn in pairs])


def _training(
    plan: Plan, own: CohortPlan, drawn: Cohort, rows: Mapping[str, Any] | None, weights: PyTree
) -> OneTraining:
    if plan.arguments is not None:
        arguments = shapes_of(plan.arguments)
        shapes, weights = batch_shapes(arguments.data, own.batch_size), arguments.weights
    else:
        shapes = batch_of(rows, own.batch_size)
    batch = None
    if shapes is not None:
        batch = tuple(sorted((k, (tuple(s.shape), str(s.dtype))) for k, s in shapes.items()))
    middle = {name: d.from_unit(np.array([0.5])) for name, d in drawn.combination.traced.items()}
    values = {name: middle.get(name, drawn.hparams[name])[0] for name, _ in own.traced}
    traced = tuple(sorted((name, float(value)) for name, value in values.items()))
    return OneTraining(plan.learner, own, plan.config, batch, traced, _shared(plan, weights))


def _shared(plan: Plan, weights: PyTree) -> Any:
    """Returns the shapes of what members share, see `OneTraining`."""
    if plan.learner.share is None:
        return None
    leaves = flatten_dict(weights)
    of = ((path, tuple(leaf.shape), str(leaf.dtype)) for path, leaf in leaves.items())
    return tuple(sorted(of, key=str))
