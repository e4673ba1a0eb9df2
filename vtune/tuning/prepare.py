"""From a user's arguments to a plan and the program's arguments; says what cannot work."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments, Trajectory
from vtune.engine.layout import resolve_layout
from vtune.engine.plan import CohortPlan, Plan, as_arrays, describe, jax_config
from vtune.hparams import Static
from vtune.learner.contracts import check_call
from vtune.learner.protocol import Learner
from vtune.refine.base import Refiner, Rung
from vtune.refine.keep import Keep
from vtune.results.rerun import starting
from vtune.runtime.check_learner import Inspection, check_labels, check_metrics
from vtune.runtime.compile import inspect, outputs
from vtune.search.base import Cohort, sized
from vtune.search.halton import Halton
from vtune.space.space import Space, parse
from vtune.space.traced import program_space
from vtune.tuning.arguments import _LEARNERS, _mode, _trainings, _weights, check_is_refiner
from vtune.tuning.duration import (
    eval_batch_size_of,
    length_of,
    most_epochs,
    rounds_of,
    stopping_of,
    with_total_steps,
)
from vtune.tuning.hints import _warn_unread, many_combinations, warn_idle
from vtune.validation import is_whole

MANY_COHORTS = 16  # with more, the time to compile is predicted
# Compiling took 12 times as long as checking, for 18 cohorts of an MLP on 2 CPU cores.
COMPILE_PER_CHECK = 12


class Prepared(NamedTuple):
    """What a sweep needs to run: nothing is compiled yet."""

    plan: Plan
    space: Space
    cohorts: tuple[Cohort, ...]
    arguments: Arguments


def prepare(
    learner: Any,
    space: Any,
    data: Any,
    *,
    search: Any,
    refiner: Any,
    epochs: Any,
    steps: Any,
    rounds: Any,
    batch_size: Any,
    eval_batch_size: Any,
    metric: Any,
    mode: Any,
    seed: Any,
    layout: Any,
    patience: Any = None,
    keep: Any = None,
    init_from: Any = None,
    seeds: Any = None,
    path: Trajectory | None = None,
    known_schedule: bool = False,
) -> Prepared:
    """The arguments are those of `vt.tune`.

    Args:
      path: for a population of one: its hyperparameters round by round.
      known_schedule: they were read in a sweep, so nobody is told that one is not.

    Raises:
      TypeError, ValueError: on whatever cannot work.
    """
    if not isinstance(learner, Learner):
        raise TypeError(
            f"learner={type(learner).__name__} is no Learner; make one with vt.flax_learner(...), "
            "vt.nnx_learner(...) or vt.Learner(init, step, measure, score)"
        )
    if data is not None and not isinstance(data, Data):
        raise TypeError(
            f"data={type(data).__name__} is no Data; write vt.holdout({{'x': X, 'y': y}}) or "
            "vt.from_splits(train, valid), or vt.kfold({'x': X, 'y': y}, k=5)"
        )
    for name, takes in _LEARNERS.items():
        check_call(f"the learner's {name}", getattr(learner, name), takes)
    checked = parse(space)
    mode = _mode(learner, metric, mode)
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to 2**32 - 1")
    search = search if search is not None else Halton()
    if isinstance(search, type) or not hasattr(search, "draw"):
        raise TypeError(f"search={search!r} is no search; write vt.Halton(64) or vt.Grid({{...}})")
    refiner = refiner if refiner is not None else Keep()
    check_is_refiner(refiner)
    own = getattr(refiner, "size", None)  # Hyperband sets the number of settings
    search = sized(search, None if own is None else own * len(checked.combinations))
    cohorts = search.draw(checked, int(seed))
    if path is not None:
        cohorts = (starting(cohorts[0], path),)
    own_epochs, epochs = (
        (epochs, most_epochs(cohorts, epochs)) if callable(epochs) else (None, epochs)
    )
    lengths = [
        length_of(cohort, data, epochs, steps, batch_size) for cohort in cohorts
    ]  # (batch size, steps, steps per epoch)
    totals: list[int | None] = [steps for _, steps, _ in lengths]
    if own_epochs is not None:
        pairs = [
            with_total_steps(cohort, own_epochs, length[2] or 1)
            for cohort, length in zip(cohorts, lengths, strict=True)
        ]
        cohorts, totals = tuple(own for own, _ in pairs), [total for _, total in pairs]
    if data is not None:
        cohorts = tuple(
            with_traced_lengths(cohort, data.traced_lengths(size or 1, steps // (a_epoch or 1)))
            for cohort, (size, steps, a_epoch) in zip(cohorts, lengths, strict=True)
        )
    rounds = rounds_of(rounds, epochs, lengths, refiner)
    stopping = stopping_of(patience, keep, own_epochs, rounds, epochs, refiner)
    arguments = Arguments(
        np.uint32(seed),
        tuple(program_space(cohort.combination.traced) for cohort in cohorts),
        as_arrays(refiner),
        data,
        path,
        _weights(learner, init_from),
    )
    plan = Plan(
        learner=learner,
        cohorts=tuple(
            _cohort_plan(cohort, length, total, rounds, refiner)
            for cohort, length, total in zip(cohorts, lengths, totals, strict=True)
        ),
        rounds=rounds,
        metric=metric,
        mode=mode,
        eval_batch_size=eval_batch_size_of(eval_batch_size, data),
        layout=resolve_layout(layout, max(len(cohort.id) for cohort in cohorts)),
        arguments=describe(arguments),
        config=jax_config(),
        stopping=stopping,
        replicates=_trainings(data, seeds),
    )
    found = inspected(plan, data)
    check_metrics(found)
    if not known_schedule:
        _warn_unread(checked, cohorts, found, (batch_size, own_epochs))
    warn_idle(refiner, rounds)
    return Prepared(plan, checked, cohorts, arguments)


def with_traced_lengths(cohort: Cohort, lengths: dict[str, Any]) -> Cohort:
    """The cohort, whose members read these numbers of steps as hyperparameters."""
    columns = {name: np.full(len(cohort.id), steps) for name, steps in lengths.items()}
    return cohort._replace(hparams={**cohort.hparams, **columns})


def inspected(plan: Plan, data: Data | None) -> tuple[Inspection, ...]:
    """What tracing shows. Many cohorts take long to compile, which is said before."""
    began, missed = time.perf_counter(), inspect.cache_info().misses
    for shapes in outputs(plan):
        check_labels(plan.learner, shapes, data)
    found = inspect(plan)
    if len(plan.cohorts) > MANY_COHORTS and inspect.cache_info().misses > missed:
        seconds = time.perf_counter() - began
        many_combinations(len(plan.cohorts), COMPILE_PER_CHECK * seconds)
    return found


def _cohort_plan(
    cohort: Cohort, length: Any, total: int | None, rounds: int, refiner: Refiner
) -> CohortPlan:
    batch_size, steps, a_epoch = length
    static = {**cohort.combination.static}
    for name, number in (("total_steps", total), ("steps_per_epoch", a_epoch)):
        if number is not None and name not in cohort.hparams:
            static[name] = number
    size = len(cohort.id)
    rungs = rungs_of(cohort, rounds, refiner)
    traced = tuple((name, str(values.dtype)) for name, values in cohort.hparams.items())
    return CohortPlan(Static(static), traced, size, batch_size, steps, a_epoch, rungs)


def rungs_of(cohort: Cohort, rounds: int, refiner: Refiner) -> tuple[Rung, ...]:
    """The sizes of a cohort over the rounds, as its refiner wants them."""
    size = len(cohort.id)
    try:
        rungs = tuple(refiner.rungs(size, rounds))
    except ValueError as error:
        if not cohort.combination.choices:
            raise
        raise ValueError(f"cohort {cohort.combination.choices}: {error}") from None
    sizes = [rung.size for rung in rungs]
    if (
        sum(rung.rounds for rung in rungs) != rounds
        or min((rung.rounds for rung in rungs), default=0) < 1
        or sizes != sorted(sizes, reverse=True)
        or sizes[0] != size
        or sizes[-1] < 1
    ):
        raise ValueError(
            f"{type(refiner).__name__}.rungs({size}, {rounds}) gave {rungs}; they must cover "
            f"{rounds} rounds, begin with {size} members and never grow"
        )
    return rungs
