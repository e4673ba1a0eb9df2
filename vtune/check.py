"""What is wrong is said before anything is compiled: one member is traced with shapes only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.carry import Arguments
from vtune.contracts import calling
from vtune.data import Data
from vtune.keys import IMPL, member_key
from vtune.learner import Learner, first_state, traced_once
from vtune.plan import CohortPlan, Plan, describe
from vtune.population import replicated
from vtune.refine.base import Refinement
from vtune.types import Hparams, PyTree, float_dtype


def outputs_of(plan: Plan, cohort: CohortPlan, arguments: Arguments) -> PyTree:
    """The shapes of what a cohort's `predict` returns for an evaluation batch, None without."""
    return _traced(_outputs, plan, cohort, arguments)


class Found(NamedTuple):
    """What tracing one member shows: hyperparameters that were read, metrics as shapes."""

    reads: frozenset[str]
    metrics: PyTree


def check_cohort(plan: Plan, cohort: CohortPlan, arguments: Arguments) -> Found:
    """Traces one member of a cohort through init, step, measure, score and predict.

    Args:
      arguments: as shapes.

    Raises:
      TypeError, ValueError: saying what was seen and what to write instead.
    """
    reads: set[str] = set()
    metrics = _traced(_one_member, plan, cohort, arguments, reads)
    return Found(frozenset(reads), metrics)


def _traced(
    run: Callable[..., Any],
    plan: Plan,
    cohort: CohortPlan,
    arguments: Arguments,
    reads: set[str] | None = None,
) -> PyTree:
    """The shapes of `run(plan, cohort, arguments, h)`; errors are put in plain words. What is read
    of h is noted in `reads`."""
    shapes = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}

    def trace(traced: dict[str, Any], plain: dict[str, Any]) -> PyTree:
        def member(traced: dict[str, Any]) -> PyTree:
            return run(plan, cohort, arguments, cohort.h({**traced, **plain}, reads))

        # where the program will trace it, so that it is traced once
        return jax.eval_shape(replicated(member, plan.layout), traced)

    try:
        return trace(shapes, {})
    except Exception as error:
        culprits, other = _culprits(trace, shapes, error)
        if not culprits:
            raise
        said = f"JAX said: {_first_line(error)}"
        if other is not None:
            said += f"; as a plain number it fails too, with: {_first_line(other)}"
        names = ", ".join(map(repr, culprits))
        ways = _OWN_STEPS if culprits[0] == "total_steps" else _WAYS
        ways = ways.format(first=culprits[0])
        raise TypeError(_TRACED.format(names=names, ways=ways, said=said)) from error


_TRACED = """\
hyperparameter {names} is traced (an array inside the program), but was used as a plain Python \
number: in `if`, in a comparison, with float() or int(), or as a shape. Write instead
{ways}
({said})"""
_WAYS = """\
  - a learning-rate schedule:  vt.schedules.cosine(h["{first}"], h["total_steps"]) or another of \
vt.schedules; or lambda step: h["{first}"] * schedule(step), where `schedule` has peak 1 and is \
made without h["{first}"]
  - a dropout rate:            vt.nn.Dropout(h["{first}"])
  - a choice or a shape:       "{first}": vt.Categorical([...]) in the space"""
_OWN_STEPS = """\
  - a learning-rate schedule:  vt.schedules.cosine(h["lr"], h["total_steps"]) or another of \
vt.schedules, since members that have their own epochs have their own steps
  - one length for all:        epochs= a number"""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_NOT_PLAIN = (  # what JAX raises where an array of a program is used as a Python number
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def _culprits(
    trace: Callable[..., Any], shapes: dict[str, Any], first: Exception
) -> tuple[list[str], Exception | None]:
    """Traced hyperparameters that cannot stay traced, when all others are plain numbers; and what
    is wrong besides, if anything.

    No names where the failure has another cause, so that the user's own error is shown.
    """

    def failure(traced: list[str], number: Callable[[Any], Any]) -> Exception | None:
        plain = {k: number(s) for k, s in shapes.items() if k not in traced}
        try:
            trace({k: shapes[k] for k in traced}, plain)
        except Exception as error:
            return error
        return None

    # Some number that the user's code takes: a rate, a fraction, or a size.
    for value in (1.0, 0.5, 0.1, 1e-3, 1, 2, 8):
        number = lambda s, value=value: type(value)(np.dtype(s.dtype).type(value) or 1)
        other = failure([], number)
        if other is None:
            return [name for name in shapes if failure([name], number) is not None], None
    if isinstance(first, _NOT_PLAIN) and not isinstance(other, _NOT_PLAIN):
        names = [name for name in shapes if isinstance(failure([name], number), _NOT_PLAIN)]
        return names, other
    return [], None


def _evaluation_batch(plan: Plan, data: Data | None) -> tuple[PyTree, Any]:
    if data is None or plan.eval_batch_size is None:
        return None, jnp.ones(1)
    return _zeros(data, plan.eval_batch_size), jnp.ones(plan.eval_batch_size)


def _zeros(data: Data | None, rows: int | None) -> PyTree:
    if data is None or rows is None:
        return None
    return {k: jnp.zeros((rows, *v.shape[1:]), v.dtype) for k, v in data.arrays.items()}


def _first_state(learner: Learner, cohort: CohortPlan, arguments: Arguments, h: Hparams) -> PyTree:
    weights = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), arguments.weights)
    batch = _zeros(arguments.data, cohort.batch_size)
    return first_state(learner, member_key(np.uint32(0), 0), h, batch, weights)


def _outputs(plan: Plan, cohort: CohortPlan, arguments: Arguments, h: Hparams) -> PyTree:
    if plan.learner.predict is None:
        return None
    learner = traced_once(plan.learner)
    assert learner.predict is not None
    state = _first_state(learner, cohort, arguments, h)
    return learner.predict(h, state, _evaluation_batch(plan, arguments.data)[0])


def _one_member(plan: Plan, cohort: CohortPlan, arguments: Arguments, h: Hparams) -> PyTree:
    learner, data = traced_once(plan.learner), arguments.data
    key = member_key(np.uint32(0), 0)
    batch = _zeros(data, cohort.batch_size)
    state = _first_state(learner, cohort, arguments, h)
    result = learner.step(key, h, state, batch)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError("the learner's step must return (state, metrics)")
    after, step_metrics = result
    _check_state(state, after)
    if learner.summarise is None:
        _check_step_metrics(step_metrics)
    rows, weight = _evaluation_batch(plan, data)
    metrics = learner.score(learner.measure(key, h, state, rows, weight))
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"the learner's score returned {type(metrics).__name__}; return a dict of metrics by "
            'name: {"loss": value}'
        )
    metrics = dict(metrics)
    if learner.predict is not None:
        learner.predict(h, state, rows)
    _check_metric(plan, metrics)
    return {name: jnp.asarray(value) for name, value in metrics.items()}


def check_metrics(found: tuple[Found, ...]) -> None:
    """Members share one history, so a metric has one shape in all cohorts."""
    shapes: dict[str, tuple[int, ...]] = {}
    for cohort in found:
        for name, value in cohort.metrics.items():
            if shapes.setdefault(name, value.shape) != value.shape:
                raise ValueError(
                    f"metric {name!r} has shape {list(shapes[name])} in one cohort and "
                    f"{list(value.shape)} in another; give it one shape for all"
                )


def check_refiner(plan: Plan, index: int, arguments: Arguments) -> None:
    """Traces what a refiner decides for one cohort, wherever it will be asked.

    Args:
      arguments: as shapes.

    Raises:
      ValueError, TypeError: the decision does not fit the cohort's rungs or hyperparameters.
    """
    cohort, refiner, space = plan.cohorts[index], arguments.refiner, arguments.space[index]
    who = type(refiner).__name__
    memory = jax.eval_shape(lambda space: refiner.init(space, cohort.size), space)
    ends = itertools.accumulate(rung.rounds for rung in cohort.rungs)
    to_come = [rung for rung, end in zip(cohort.rungs, ends, strict=True) if end > plan.past]
    sizes = list(dict.fromkeys(rung.size for rung in to_come))
    for size, following in itertools.pairwise(sizes if cohort.shrinks else sizes * 2):
        hparams = {name: jax.ShapeDtypeStruct((size,), dtype) for name, dtype in cohort.traced}
        score = jax.ShapeDtypeStruct((size,), float_dtype())
        result = jax.eval_shape(
            lambda refiner, *rest: refiner.refine(
                jax.random.key(0, impl=IMPL), jnp.int32(1), *rest
            ),
            refiner,
            space,
            hparams,
            score,
            memory,
        )
        pair = isinstance(result, tuple) and len(result) == 2
        if not pair or not isinstance(result[0], Refinement):
            raise TypeError(f"{who}.refine must return (vt.Refinement(parents, hparams), memory)")
        decision, after = result
        parents = decision.parents
        if parents.shape != (following,) or parents.dtype != np.int32:
            raise ValueError(
                f"{who}.refine gave parents {parents.dtype}{list(parents.shape)} for {size} "
                f"members; the next rung has {following}: return int32[{following}]"
            )
        shapes = {name: values.shape for name, values in decision.hparams.items()}
        if shapes != dict.fromkeys(hparams, (following,)):
            raise ValueError(
                f"{who}.refine gave hyperparameters {shapes}; return every one of "
                f"{list(hparams)}, each [{following}]"
            )
        if describe(memory) != describe(after):
            raise TypeError(
                f"{who}.refine changed its memory from {memory} to {after}; it keeps its "
                "structure, shapes and types"
            )


def _check_state(before: PyTree, after: PyTree) -> None:
    a: Any = jax.tree.structure(before)
    b: Any = jax.tree.structure(after)
    if a != b:
        raise TypeError(
            f"step changed the structure of the state, from {a} to {b}; return what init returns"
        )
    for (path, x), y in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        x, y = jnp.asarray(x), jnp.asarray(y)
        if x.shape != y.shape or x.dtype != y.dtype:
            raise TypeError(
                f"step changed state{jax.tree_util.keystr(path)} from {x.dtype}{list(x.shape)} to "
                f"{y.dtype}{list(y.shape)}; a state keeps its shapes and types"
            )


def _check_step_metrics(metrics: Any) -> None:
    for name, value in dict(metrics).items():
        if jnp.shape(value) != ():
            raise ValueError(
                f"the step's metric {name!r} has shape {list(jnp.shape(value))}; return a scalar, "
                "such as its mean"
            )


def _check_metric(plan: Plan, metrics: dict[str, Any]) -> None:
    if callable(plan.metric):
        if "score" in metrics:
            raise ValueError("metric= is a function, so the name 'score' is taken; rename yours")
        with calling("metric", metrics=metrics):
            value = plan.metric(metrics)
    elif plan.metric not in metrics:
        raise ValueError(
            f"metric={plan.metric!r} is not recorded on the validation rows; choose one of "
            f"{sorted(metrics)}"
        )
    else:
        value = metrics[plan.metric]
    if jnp.shape(value) != ():
        raise ValueError(
            f"metric={plan.metric!r} has shape {list(jnp.shape(value))}; members are compared by "
            "one number: give metric=lambda metrics: ..."
        )


def check_labels(learner: Learner, outputs: PyTree, data: Data | None) -> None:
    """The learner's own check of the data against what its model returns."""
    if learner.check is not None and data is not None and outputs is not None:
        learner.check(outputs, {k: np.asarray(v) for k, v in data.arrays.items()})
