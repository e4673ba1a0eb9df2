"""From a user's arguments to a plan and the program's arguments. Nothing is compiled here."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments
from vtune.engine.layout import resolve_layout
from vtune.engine.plan import CohortPlan, Plan, as_arrays, describe, jax_config
from vtune.hparams import Static
from vtune.refine.base import Refiner, Rung
from vtune.refine.keep import Keep
from vtune.results.rerun import cohort_at_start
from vtune.results.trained import Drawn
from vtune.runtime.check_learner import Inspection, check_labels, check_metrics
from vtune.runtime.check_ranges import check_ranges
from vtune.runtime.check_weights import check_weights
from vtune.runtime.compile import argument_shapes, inspect, outputs
from vtune.runtime.features import shapes_of_features
from vtune.runtime.surroundings import check_one_process, check_surroundings
from vtune.search.base import Cohort, drawn
from vtune.search.generations import Generations
from vtune.space.space import Space
from vtune.space.traced import program_space
from vtune.tuning.arguments import CheckedArguments, TuneArguments, check_arguments
from vtune.tuning.changes import check_changes
from vtune.tuning.check_generations import check_generations
from vtune.tuning.duration import Durations, TrainingLength, durations_of, eval_batch_size_of
from vtune.tuning.freezing import freezes, with_frozen
from vtune.tuning.hints import (
    many_combinations,
    very_many_combinations,
    warn_idle,
    warn_lossy,
    warn_nothing_to_search,
    warn_unread,
)
from vtune.tuning.objectives import check_objectives, objectives_of
from vtune.tuning.pretrained import check_given
from vtune.tuning.streamed import check_streamed
from vtune.validation import is_whole

MANY_COHORTS = 16  # with more, the time to compile is predicted
VERY_MANY_COHORTS = 64  # with more, checking alone takes long
# Compiling took 12 times as long as checking, for 18 cohorts of an MLP on 2 CPU cores.
COMPILE_PER_CHECK = 12


class Prepared(NamedTuple):
    """What a sweep needs to run; nothing is compiled yet.

    Attributes:
      drawn: how the members were drawn.
    """

    plan: Plan
    space: Space
    cohorts: tuple[Cohort, ...]
    arguments: Arguments
    drawn: Drawn


def prepare(given: TuneArguments) -> Prepared:
    """Checks the arguments, draws the members, decides how long they train, and makes the plan.

    The user's functions are traced once, which shows most mistakes before anything is compiled.

    Raises:
      TypeError, ValueError: an argument, or what a user's function returns, cannot work.
    """
    check_surroundings("vtune")
    given, objectives = objectives_of(given)
    checked = check_arguments(given)
    if isinstance(checked.search, Generations):
        check_one_process("search=vt.Generations", "draw all settings at once, vt.Halton(...)")
        check_generations(checked, objectives)
    if given.cache_features:
        check_one_process("cache_features=True", "leave it out")
        _check_features_fit(given.data)
    cohorts = _drawn(given, checked)
    if given.search is None and given.trajectory is None:
        warn_nothing_to_search(cohorts)
    if given.data is not None and not given.known_schedule:
        warn_lossy(given.data)
    durations = durations_of(given, cohorts, checked.refiner)
    arguments = _program_arguments(given, checked, durations.cohorts)
    plan = _plan(given, checked, durations, arguments)
    often = checked.search.generations if isinstance(checked.search, Generations) else 1
    check_streamed(given.data, plan, often)
    if freezes(given):
        given, weights = with_frozen(given, plan, checked.weights)
        arguments = arguments._replace(weights=weights)
        plan = _plan(given, checked, durations, arguments)
    elif given.cache_features:
        raise ValueError(
            "cache_features: nothing is frozen, so no feature is the same for all; give frozen="
        )
    elif given.trajectory is None:  # else it is one member's of a sweep that was checked
        check_given(plan, checked.weights)
    if given.cache_features:
        arguments = arguments._replace(features=shapes_of_features(plan, argument_shapes(plan)))
        plan = _plan(given, checked, durations, arguments)
    inspections = inspected(plan, given.data)
    check_metrics(inspections)
    check_objectives(objectives, plan, durations.cohorts, inspections)
    check_changes(
        inspections, durations.cohorts, checked.refiner, given.trajectory, not given.known_schedule
    )
    check_weights((seen.weighings for seen in inspections), given.data)
    check_ranges((seen.lookups for seen in inspections), given.data, not given.known_schedule)
    if not given.known_schedule:
        warn_unread(checked.space, durations.cohorts, inspections, (given.batch_size, given.epochs))
    warn_idle(checked.refiner, durations.rounds, durations.cohorts)
    how = Drawn(type(checked.search).__name__, objectives=objectives)
    if isinstance(checked.search, Generations):
        size = sum(len(cohort.id) for cohort in durations.cohorts)
        how = how._replace(search=checked.search.name, generation_size=size, began_from=(-1,))
    return Prepared(plan, checked.space, durations.cohorts, arguments, how)


def _check_features_fit(data: Data | None) -> None:
    """Raises ValueError where rows are not on the device, as features of them all would be."""
    if data is not None and data.on_host:
        elsewhere = ', or write on="device" where the data are made'
        raise ValueError(
            "cache_features: the training rows lie on the host, and features of them all would be "
            "kept on the device; leave it out, and features are computed once for each batch"
            + (elsewhere if data.batch_size is None else "")
        )


def other_members(
    prepared: Prepared, given: TuneArguments, cohorts: tuple[Cohort, ...]
) -> Prepared:
    """Returns what was prepared with other members in the place of those that were drawn, in
    cohorts of the same sizes, for the same program.

    Args:
      given: what it was prepared from. cohorts: as a search draws them.
    """
    refiner = given.refiner if given.refiner is not None else Keep()
    durations = durations_of(given, cohorts, refiner)
    return prepared._replace(cohorts=durations.cohorts)


def _drawn(given: TuneArguments, checked: CheckedArguments) -> tuple[Cohort, ...]:
    """Returns every cohort as drawn, or, for a known trajectory, the one member at its start."""
    cohorts = drawn(checked.search, checked.space, checked.seed)
    return cohorts if given.trajectory is None else (cohort_at_start(cohorts[0], given.trajectory),)


def _program_arguments(
    given: TuneArguments, checked: CheckedArguments, cohorts: tuple[Cohort, ...]
) -> Arguments:
    """Returns what the compiled program is called with."""
    return Arguments(
        np.uint32(checked.seed),
        tuple(program_space(cohort.combination.traced) for cohort in cohorts),
        as_arrays(checked.refiner),
        given.data,
        given.trajectory,
        checked.weights,
    )


def _plan(
    given: TuneArguments, checked: CheckedArguments, durations: Durations, arguments: Arguments
) -> Plan:
    """Returns what is part of the program's identity."""
    by_cohort = zip(durations.cohorts, durations.lengths, durations.total_steps, strict=True)
    return Plan(
        learner=given.learner,
        cohorts=tuple(
            _cohort_plan(
                cohort, length, total_steps, rungs_of(cohort, durations.rounds, checked.refiner)
            )
            for cohort, length, total_steps in by_cohort
        ),
        rounds=durations.rounds,
        metric=given.metric,
        mode=checked.mode,
        eval_batch_size=eval_batch_size_of(
            given.eval_batch_size, given.data, given.learner, durations.lengths
        ),
        layout=resolve_layout(given.layout, max(len(cohort.id) for cohort in durations.cohorts)),
        arguments=describe(arguments),
        config=jax_config(),
        stopping=durations.stopping,
        replicates=checked.replicates,
    )


def _cohort_plan(
    cohort: Cohort, length: TrainingLength, total_steps: int | None, rungs: tuple[Rung, ...]
) -> CohortPlan:
    """Returns what the members of a cohort share. Step counts that are not traced are static."""
    static = {**cohort.combination.static}
    batch_size, steps, per_epoch, by_fold = length
    counts = {"total_steps": total_steps, "steps_per_epoch": per_epoch}
    for name, count in counts.items():
        if count is not None and name not in cohort.hparams:
            static[name] = count
    traced = tuple((name, str(values.dtype)) for name, values in cohort.hparams.items())
    return CohortPlan(
        static=Static(static),
        traced=traced,
        size=len(cohort.id),
        batch_size=batch_size,
        steps=steps,
        steps_per_epoch=per_epoch,
        rungs=rungs,
        by_fold=by_fold,
        own_epochs=total_steps is None,
    )


def inspected(plan: Plan, data: Data | None) -> tuple[Inspection, ...]:
    """Returns what tracing the user's functions shows, one result for each cohort.

    Many cohorts take long to compile, which the user is told beforehand.
    """
    began, missed = time.perf_counter(), inspect.cache_info().misses
    if len(plan.cohorts) > VERY_MANY_COHORTS:
        very_many_combinations(len(plan.cohorts))
    for shapes in outputs(plan):
        check_labels(plan.learner, shapes, data)
    inspections = inspect(plan)
    if len(plan.cohorts) > MANY_COHORTS and inspect.cache_info().misses > missed:
        seconds = time.perf_counter() - began
        many_combinations(len(plan.cohorts), COMPILE_PER_CHECK * seconds)
    return inspections


def rungs_of(cohort: Cohort, rounds: int, refiner: Refiner) -> tuple[Rung, ...]:
    """Returns the sizes of a cohort over the rounds, as its refiner wants them.

    Raises:
      ValueError: the refiner cannot work with this cohort, or its rungs do not fit.
    """
    size = len(cohort.id)
    try:
        rungs = refiner.rungs(size, rounds)
    except ValueError as error:
        if not cohort.combination.choices:
            raise
        raise ValueError(f"cohort {cohort.combination.choices}: {error}") from None
    who = f"{type(refiner).__name__}.rungs({size}, {rounds})"
    if not isinstance(rungs, list | tuple) or not all(map(_is_rung, rungs)):
        raise TypeError(f"{who} returned {rungs!r}; return a tuple of vt.Rung(size, rounds)")
    rungs = tuple(rungs)
    sizes = [rung.size for rung in rungs]
    if (
        sum(rung.rounds for rung in rungs) != rounds
        or min((rung.rounds for rung in rungs), default=0) < 1
        or sizes != sorted(sizes, reverse=True)
        or sizes[0] != size
        or sizes[-1] < 1
    ):
        raise ValueError(
            f"{who} gave {rungs}; they must cover {rounds} rounds, begin with {size} members and "
            "never grow"
        )
    return rungs


def _is_rung(rung: Any) -> bool:
    return isinstance(rung, Rung) and is_whole(rung.size) and is_whole(rung.rounds)
