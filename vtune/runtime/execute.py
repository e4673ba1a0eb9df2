"""Runs a plan's program segment by segment. What ends a whole run early, Ctrl-C, is here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from vtune import target
from vtune.engine.carry import Arguments, EarlierRun
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.rng.keys import from_words, is_key
from vtune.runtime import memory, processes
from vtune.runtime.compile import Free, Program, build, free_in_all
from vtune.runtime.features import with_features
from vtune.runtime.feeding import FedRounds, SourceError
from vtune.runtime.hosted import on_first_host, with_small_parts
from vtune.runtime.interrupt import Interrupt
from vtune.runtime.notices import warn
from vtune.runtime.placement import placed, placed_arguments
from vtune.runtime.processes import Turn
from vtune.runtime.resume import Point
from vtune.runtime.same_run import check_same_run
from vtune.runtime.segments import Segments, WholeSegments
from vtune.runtime.surroundings import check_surroundings
from vtune.runtime.watch import Standing, Watcher
from vtune.runtime.windows import with_window
from vtune.search.base import Cohort
from vtune.types import PyTree

INTERRUPTED = "interrupted"  # the status of what Ctrl-C ended
SOURCE_FAILED = "source failed"  # of what ended since rows could not be read
Report = Callable[[str, int, PyTree], None]  # (phase, rounds done, the carry after them or None)


@dataclass(frozen=True)
class Outcome:
    """What a run of the program left.

    Attributes:
      carry: by cohort, on the device.
      rounds: how many were run, earlier runs included; fewer than planned where it was ended.
      ended: why it was ended early, as a status says it; None where it was not.
      asked: why it was to end, also where that was after its last round.
      compile_seconds: 0 where the program had been compiled before.
      run_seconds: the rest.
      error: what ended it, where rows of data on the host could not be read after its first round.
      position: where a stream of batches stands after these rounds, see `FedRounds`.
    """

    carry: PyTree
    rounds: int
    ended: str | None
    compile_seconds: float
    run_seconds: float
    asked: str | None = None
    error: SourceError | None = None
    position: Any = None

    def complete(self) -> Outcome:
        """Returns itself, where nothing failed.

        Raises:
          SourceError: what ended it.
        """
        if self.error is not None:
            raise self.error
        return self


def execute(
    plan: Plan,
    cohorts: tuple[Cohort, ...],
    arguments: Arguments,
    report: Report | None = None,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
    watchers: Sequence[Watcher] = (),
    point: Point | None = None,
    part: bool = False,
) -> Outcome:
    """Runs a plan from its first round to its last.

    Ctrl-C is answered between segments: the rounds done are kept and a warning says so. A
    second Ctrl-C interrupts as usual.

    Args:
      cohorts: ids and hyperparameters of the members at the start.
      report: is told of the progress.
      stop_after: the rounds to run where not all of them are.
      past: what the earlier run of an extended sweep left.
      watchers: look on between segments, in this order.
      point: where the run goes on; None for its beginning.
      part: whether this is one part of a longer run, which says itself that it was interrupted.

    Raises:
      FloatingPointError: `jax_debug_nans` is on and a member's numbers became NaN.
      SourceError: rows of data on the host could not be read in the first round, or by one of
        several processes.
      KeyboardInterrupt: Ctrl-C before the first round.
    """
    check_surroundings("vtune")
    check_same_run(plan, cohorts, arguments, stop_after)
    data = arguments.data
    plan, arguments = with_window(plan, arguments)
    report = report or (lambda phase, rounds, carry: None)
    report("compile", plan.past, None)
    if arguments.features is not None:  # before the program is compiled, since it may be an error
        bare = arguments._replace(features=None)
        arguments = with_features(plan, placed_arguments(bare, plan.layout))
    free = free_in_all(plan)
    with processes.together("compiling"):
        built, compile_seconds = _built(plan, free)
    devices = plan.layout.devices or 1
    memory.log_predicted(built.bytes, built.limit, built.width, devices, built.fused)
    began = time.perf_counter()
    last = stop_after or plan.rounds
    ran = _run(plan, built, cohorts, data, arguments, report, last, past, watchers, point)
    carry, done, asked = ran.carry, ran.done, ran.asked
    memory.log_peak()
    report("done", done, carry)
    ended = asked if done < last else None
    if ended == INTERRUPTED and not part:
        hint = "" if plan.stopping else ", and vt.extend(sweep, ...) trains on from there"
        warn(f"interrupted: {done} of {plan.rounds} rounds were run; the sweep holds those{hint}")
    seconds = time.perf_counter() - began
    return Outcome(carry, done, ended, compile_seconds, seconds, asked, ran.error, ran.position)


def _built(plan: Plan, free: Free | None) -> tuple[Program, float]:
    """Returns the program of a plan and the seconds that compiling took; 0 if it was there."""
    began, misses = time.perf_counter(), build.cache_info().misses
    with Interrupt("when compiling is done") as interrupt:
        built = build(plan) if free is None else build(plan, free)
    if interrupt.asked:
        raise KeyboardInterrupt
    compiled = build.cache_info().misses > misses
    return built, time.perf_counter() - began if compiled else 0.0


class _Ran(NamedTuple):
    """The carry after so many rounds, why the run was to end, and the rest of `Outcome`."""

    carry: PyTree
    done: int
    asked: str | None
    error: SourceError | None = None
    position: Any = None


def _run(
    plan: Plan,
    built: Program,
    cohorts: tuple[Cohort, ...],
    data: Any,
    arguments: Arguments,
    report: Report,
    rounds: int,
    past: EarlierRun | None,
    watchers: Sequence[Watcher],
    point: Point | None,
) -> _Ran:
    """Calls the program segment by segment."""
    if point is not None:
        carry = point.carry(built.carry)
    else:
        carry = first_carry(built, cohorts) if past is None else _continued_carry(built, past)
    carry = placed(carry, built.shardings)
    done = plan.past if point is None else point.done
    seen = carry if done == plan.past else with_small_parts(carry)
    looking = [w for w in watchers if w.everywhere or target.is_first_process()]
    error: SourceError | None = None
    with contextlib.ExitStack() as held:
        interrupt = held.enter_context(Interrupt("after this round"))
        segments: Segments
        if built.fed is None:
            segments = WholeSegments(plan, built, placed_arguments(arguments, plan.layout))
        else:
            fed = FedRounds(plan, built, data, arguments, done, rounds, point and point.position)
            segments = held.enter_context(fed)
        turn = processes.agreed(
            lambda: Turn(None, _next_stop(looking, done, segments.rounds, rounds), False)
        )
        while done < rounds and turn.asked is None:
            report("run", done, seen if done > plan.past else None)
            try:
                with processes.ending_together():
                    carry = segments.run(carry, seen, done, turn.stop)
                    seen = with_small_parts(carry)
            except SourceError as failed:
                if segments.kept is None:
                    raise
                seen, error = segments.kept, failed
                return _Ran(seen, done, SOURCE_FAILED, error, segments.position)
            standing = Standing(
                plan, cohorts, seen, done, turn.stop, rounds, past, segments.position
            )
            done = turn.stop
            turn = _after_segment(looking, standing, segments.rounds, interrupt)
    return _Ran(seen, done, turn.asked, None, segments.position)


def _next_stop(watchers: Sequence[Watcher], done: int, segment: int, rounds: int) -> int:
    """Returns where the next segment ends, if it has `segment` rounds and nobody wants fewer."""
    most = [most for w in watchers if (most := w.most_rounds(done)) is not None]
    return min(done + min([segment, *most]), rounds)


def _after_segment(
    watchers: Sequence[Watcher], standing: Standing, segment: int, interrupt: Interrupt
) -> Turn:
    """Tells the watchers of a segment, and returns what comes next."""
    done = standing.done
    wanted: list[Watcher] = []

    def decide() -> Turn:
        reasons = [reason for w in watchers if (reason := w.segment(standing)) is not None]
        wanted.extend(w for w in watchers if w.wants_states(standing))
        if not processes.several():
            _hand_over(wanted, standing.carry, done)
        asked = INTERRUPTED if interrupt.asked else next(iter(reasons), None)
        stop = done
        if done < standing.rounds and asked is None:
            stop = _next_stop(watchers, done, segment, standing.rounds)
        return Turn(asked, stop, bool(wanted))

    turn = processes.agreed(decide)
    if turn.keep and processes.several():
        with processes.together("handing over the members' states", long=True):
            carry = on_first_host(standing.carry)
            if target.is_first_process():
                _hand_over(wanted, carry, done)
    return turn


def _hand_over(watchers: Sequence[Watcher], carry: PyTree, done: int) -> None:
    for watcher in watchers:
        watcher.take_states(carry, done)


def first_carry(built: Program, cohorts: tuple[Cohort, ...]) -> PyTree:
    """Returns the carry for the first call of a new sweep: ids and hyperparameters, the rest zeros.

    It is made on the host; on the device it would be a second program.
    """
    return tuple(
        carry._replace(
            population=carry.population._replace(id=cohort.id, hparams=dict(cohort.hparams))
        )
        for carry, cohort in zip(jax.tree.map(_zeros, built.carry), cohorts, strict=True)
    )


def _continued_carry(built: Program, past: EarlierRun) -> PyTree:
    """Returns the carry for the first call of an extended sweep: copies, since it is donated."""

    def carry(shapes: Any, population: Population, memory: PyTree) -> Any:
        zeros = jax.tree.map(_zeros, shapes)
        parents = zeros.record.parents  # the default: every slot continues itself
        parents += np.arange(parents.shape[1], dtype=parents.dtype)
        memory = zeros.memory if past.memories is None else jax.tree.map(_copy, memory)
        population = jax.tree.map(_copy_to_slots, shapes.population, population)
        return zeros._replace(population=population, memory=memory)

    memories = past.memories or (None,) * len(built.carry)
    return tuple(map(carry, built.carry, past.populations, memories))


def _zeros(shape: Any) -> Any:
    return from_words(None, shape) if is_key(shape) else np.zeros(shape.shape, shape.dtype)


def _copy(leaf: Any) -> Any:
    return from_words(np.array(jax.random.key_data(leaf)), leaf) if is_key(leaf) else np.array(leaf)


def _copy_to_slots(shape: Any, value: Any) -> Any:
    """Returns a copy with one row per slot. A loaded sweep has no states of dropped members; their
    slots are zeros."""
    words = np.asarray(jax.random.key_data(value) if is_key(shape) else value)
    missing = np.zeros((shape.shape[0] - len(words), *words.shape[1:]), words.dtype)
    filled = np.concatenate([words, missing])
    return from_words(filled, shape) if is_key(shape) else filled.astype(shape.dtype)
