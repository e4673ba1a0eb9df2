"""Checks a learner before anything is compiled, by tracing one member with shapes only."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.dataset import Data
from vtune.data.looks import looked_at
from vtune.engine.carry import Arguments, shared_weights
from vtune.engine.objectives import refiner_objectives
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.stepping import batch_shapes
from vtune.hparams import Hparams
from vtune.learner.calling import calling
from vtune.learner.check_static import check_static
from vtune.learner.frozen import sharing
from vtune.learner.held import Held, held
from vtune.learner.protocol import Learner, first_state, traced_once
from vtune.metrics.modes import nearest
from vtune.metrics.totals import widened
from vtune.returned import ReturnedError, check_real, check_structure
from vtune.rng.keys import member_key
from vtune.runtime.check_repeats import check_repeats
from vtune.runtime.check_weights import Weighings, weighings
from vtune.runtime.diagnose import trace_member
from vtune.types import PyTree
from vtune.xla.lookups import Lookup, has_entries, lookups


def outputs_of(plan: Plan, cohort: CohortPlan, arguments: Arguments) -> PyTree:
    """Returns the shapes of what `predict` returns for an evaluation batch; None without `predict`.

    Args:
      arguments: as shapes.
    """
    return trace_member(_outputs, plan, cohort, arguments)


class Inspection(NamedTuple):
    """What tracing one member of a cohort shows.

    Attributes:
      reads: the names of the hyperparameters that the learner reads.
      metrics: the shapes of the metrics by name.
      held: the hyperparameters of which the state holds what cannot follow them.
      weighings: how much every row counts, see `check_weights`.
      lookups: where entries of the data are indices or classes, and whether numbers out of range
        reach what is returned for certain.
    """

    reads: frozenset[str]
    metrics: PyTree
    held: Held
    weighings: Weighings
    lookups: Mapping[Lookup, bool]


def check_cohort(plan: Plan, cohort: CohortPlan, arguments: Arguments) -> Inspection:
    """Checks a cohort by tracing one member through init, step, measure, score and predict.

    Args:
      arguments: as shapes.

    Raises:
      TypeError, ValueError: the learner's functions do not fit together; the message says what to
        write instead.
    """
    reads: set[str] = set()
    found: list[tuple[Held, Weighings]] = []
    metrics = trace_member(functools.partial(_metrics, found), plan, cohort, arguments, reads)
    check_repeats(plan, cohort, arguments)
    lookups = lookups_of(plan, cohort, arguments)
    return Inspection(frozenset(reads), metrics, *found[-1], lookups)


def weighings_of(plan: Plan, cohort: CohortPlan, arguments: Arguments) -> Weighings:
    """Returns how much every row counts; see `check_weights`."""
    found: list[Weighings] = []
    trace_member(functools.partial(_weighings, found), plan, cohort, arguments)
    return found[-1]


def lookups_of(plan: Plan, cohort: CohortPlan, arguments: Arguments) -> Mapping[Lookup, bool]:
    """Returns where entries of the data are looked up, see `Inspection`; nothing for data of real
    numbers alone."""
    found: dict[Lookup, bool] = {}
    if has_entries(batch_shapes(arguments.data, cohort.batch_size)):
        trace_member(functools.partial(_lookups, found), plan, cohort, arguments)
    return found


def _zeros(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _evaluation_batch(plan: Plan, data: Data | None) -> tuple[PyTree, Any]:
    """Returns zeros in the place of validation rows, and their weights."""
    rows = None if data is None else plan.eval_batch_size
    return _zeros(batch_shapes(data, rows)), jnp.ones(rows or 1)


def _learner(plan: Plan, arguments: Arguments) -> Learner:
    """Returns the learner of members that have states of their own alone."""
    return sharing(traced_once(plan.learner), _zeros(shared_weights(plan, arguments)))


def _first_state(learner: Learner, cohort: CohortPlan, arguments: Arguments, h: Hparams) -> PyTree:
    weights = _zeros(arguments.weights)
    batch = _zeros(batch_shapes(arguments.data, cohort.batch_size))
    return first_state(learner, member_key(np.uint32(0), 0), h, batch, weights)


def _outputs(plan: Plan, cohort: CohortPlan, arguments: Arguments, h: Hparams) -> PyTree:
    if plan.learner.predict is None:
        return None
    learner = _learner(plan, arguments)
    assert learner.predict is not None
    state = _first_state(learner, cohort, arguments, h)
    return learner.predict(h, state, _evaluation_batch(plan, arguments.data)[0])


def _metrics(
    found: list[tuple[Held, Weighings]],
    plan: Plan,
    cohort: CohortPlan,
    arguments: Arguments,
    h: Hparams,
) -> PyTree:
    """Runs all functions of the learner once, checks what they return, and returns the metrics.

    What a member's state holds of the hyperparameters and how much rows count are added to `found`.
    """
    learner, data = _learner(plan, arguments), arguments.data
    key = member_key(np.uint32(0), 0)
    batch = _zeros(batch_shapes(data, cohort.batch_size))
    state = _first_state(learner, cohort, arguments, h)
    check_static(state)
    after, step_metrics = learner.step(key, h, state, batch)
    _check_state(state, after)
    if learner.summarise is None:
        _check_step_metrics(step_metrics)
    else:
        step_metrics = learner.summarise(widened(step_metrics), jnp.int32(1))
    if learner.variables is not None:
        learner.variables(after)
    rows, weight = _evaluation_batch(plan, data)
    metrics = dict(learner.score(learner.measure(key, h, state, rows, weight)))
    outputs = None if learner.predict is None else learner.predict(h, state, rows)
    _check_metric(plan, metrics)
    of_steps = {f"train/{name}": value for name, value in dict(step_metrics).items()}
    _check_objectives(arguments.refiner, {**of_steps, **metrics})
    measure = lambda h, state: learner.measure(key, h, state, rows, weight)
    holds = held(learner.init, learner.step, measure, key, h, state, batch)
    found.append((holds, weighings(learner, h, outputs, rows, data)))
    return {name: jnp.asarray(value) for name, value in metrics.items()}


def _weighings(
    found: list[Weighings], plan: Plan, cohort: CohortPlan, arguments: Arguments, h: Hparams
) -> None:
    """Adds to `found` how much every row counts."""
    if plan.learner.weights is None:
        found.append({})
        return
    learner, data = _learner(plan, arguments), arguments.data
    rows, _ = _evaluation_batch(plan, data)
    state = _first_state(learner, cohort, arguments, h)
    assert learner.predict is not None
    found.append(weighings(learner, h, learner.predict(h, state, rows), rows, data))


def _lookups(
    found: dict[Lookup, bool],
    plan: Plan,
    cohort: CohortPlan,
    arguments: Arguments,
    h: Hparams,
) -> None:
    """Adds to `found` where a member looks entries of the data up.

    Whether a mask keeps out what lies out of range is seen where members are scored. A NaN that is
    masked there may reach the gradient all the same.
    """
    learner = _learner(plan, arguments)
    key = member_key(np.uint32(0), 0)
    state = _first_state(learner, cohort, arguments, h)
    rows, weight = _evaluation_batch(plan, arguments.data)
    scored = jax.make_jaxpr(lambda *given: learner.measure(key, h, *given))(state, rows, weight)
    found |= lookups(scored, state, rows)
    batch = _zeros(batch_shapes(arguments.data, cohort.batch_size))
    stepped = jax.make_jaxpr(lambda *given: learner.step(key, h, *given))(state, batch)
    for lookup, certain in lookups(stepped, state, batch).items():
        if lookup.outside == "nan":
            found[lookup] = certain or found.get(lookup, False)


# Columns of the table, and entries of the history, that are made of a metric.
_DERIVED = ("best", "best_round", "splits", "std", "se")


def check_metrics(inspections: tuple[Inspection, ...]) -> None:
    """Raises ValueError where a metric has another shape in another cohort.

    All members share one history.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for inspection in inspections:
        for name, value in inspection.metrics.items():
            if shapes.setdefault(name, value.shape) != value.shape:
                raise ValueError(
                    f"metric {name!r} has shape {list(shapes[name])} in one cohort and "
                    f"{list(value.shape)} in another; give it one shape in all cohorts"
                )


def _check_state(before: PyTree, after: PyTree) -> None:
    check_structure("the learner's step", before, after)
    for (path, x), y in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        x, y = jnp.asarray(x), jnp.asarray(y)
        if x.shape != y.shape or x.dtype != y.dtype:
            raise ReturnedError(
                f"the learner's step changed state{jax.tree_util.keystr(path)} from "
                f"{x.dtype}{list(x.shape)} to {y.dtype}{list(y.shape)}; return the shapes and "
                "types that init returns"
            )


def _check_step_metrics(metrics: Any) -> None:
    for name, value in metrics.items():
        check_real("the learner's step", value, "a real number", f" as metric {name!r}")
        if jnp.shape(value) != ():
            raise ValueError(
                f"the step's metric {name!r} has shape {list(jnp.shape(value))}; return a scalar, "
                "such as its mean"
            )


def _check_objectives(refiner: Any, metrics: dict[str, Any]) -> None:
    """Raises where a refiner compares members by what is not recorded, or is not one number."""
    who = type(refiner).__name__
    for objective, _ in refiner_objectives(refiner):
        if not isinstance(objective, str):
            with calling(f"{who}: a function of the metrics", metrics=metrics):
                value = objective(metrics)
            check_real(who, value, "one real number", " as an objective")
            shape = jnp.shape(value)
        elif objective not in metrics:
            near = nearest(objective, metrics)
            meant = f" (did you mean {near!r}?)" if near else ""
            raise ValueError(
                f"{who}: the metric {objective!r} is not recorded; choose of "
                f"{sorted(metrics)}{meant}"
            )
        else:
            shape = jnp.shape(metrics[objective])
        if shape != ():
            name = objective if isinstance(objective, str) else "a function of the metrics"
            raise ValueError(
                f"{who}: {name!r} has shape {list(shape)}; choose what is a single number"
            )


def _check_metric(plan: Plan, metrics: dict[str, Any]) -> None:
    for name in metrics:
        of, _, last = name.rpartition("/")
        if of in metrics and last in _DERIVED:
            raise ValueError(
                f"the metric {name!r} has the name that is kept for what is said of {of!r}; choose "
                "another"
            )
    if callable(plan.metric):
        if "score" in metrics:
            raise ValueError(
                "metric= is a function, whose values are recorded as 'score'; give the learner's "
                "metric 'score' another name"
            )
        with calling("metric", metrics=metrics):
            value = plan.metric(metrics)
        check_real("metric", value, "one real number")
    elif plan.metric not in metrics:
        near = nearest(plan.metric, metrics)
        meant = f" (did you mean {near!r}?)" if near else ""
        raise ValueError(
            f"metric={plan.metric!r} is not recorded on the validation rows; choose one of "
            f"{sorted(metrics)}{meant}"
        )
    else:
        value = metrics[plan.metric]
    if jnp.shape(value) != ():
        raise ValueError(
            f"metric={plan.metric!r} has shape {list(jnp.shape(value))}; members are compared by "
            "one number: give metric=lambda metrics: ..."
        )


def check_labels(learner: Learner, outputs: PyTree, data: Data | None) -> None:
    """Runs the learner's own check of the data, which compares them with its model's outputs.

    Args:
      outputs: as shapes.
    """
    if learner.check is not None and data is not None and outputs is not None:
        learner.check(outputs, looked_at(data))
