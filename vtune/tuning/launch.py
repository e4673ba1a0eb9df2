"""Runs a prepared sweep, shows its progress, tells its callbacks, keeps it and makes its result."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import Any

from vtune.engine.carry import EarlierRun
from vtune.results.fingerprint import keep_fingerprint
from vtune.results.report import Best, alive, leader, on_the_host, run_of
from vtune.results.sweep import Sweep
from vtune.results.trained import finish
from vtune.runtime import processes
from vtune.runtime.execute import Outcome, execute
from vtune.runtime.feeding import SourceError
from vtune.runtime.notices import say
from vtune.runtime.time_limit import ENDED, TimeLimit
from vtune.runtime.watch import Watcher
from vtune.target import is_first_process
from vtune.tuning.callbacks import Callbacks
from vtune.tuning.checkpoints.keeper import Keeper, keeping
from vtune.tuning.checkpoints.settings import Checkpoint
from vtune.tuning.hints import idle_cores
from vtune.tuning.parents import parents_watcher
from vtune.tuning.prepare import Prepared
from vtune.tuning.progress import reporter
from vtune.tuning.same_call import check_same_call
from vtune.tuning.streamed import check_begins
from vtune.types import PyTree
from vtune.validation import check_flag


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What looks on while a sweep runs, as checked; nothing of it changes what is computed.

    Attributes:
      progress: see `reporter`. limit: of its time. callbacks: are told of it.
      checkpoint: where it is kept, and goes on from.
      part: which part of a longer run it is, in words.

    Raises:
      TypeError: `progress` is something else than True, False or None.
    """

    progress: bool | None = None
    limit: TimeLimit | None = None
    callbacks: tuple[Any, ...] = ()
    checkpoint: Checkpoint | None = None
    part: str = ""

    def __post_init__(self) -> None:
        if self.progress is not None:
            check_flag("tune: progress", self.progress)


def run_prepared(
    prepared: Prepared,
    watching: Watching,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
) -> Sweep:
    """Runs a prepared sweep and returns its result.

    Args:
      stop_after: so many rounds are run; None for all. past: of an extended sweep, what it was.
    """
    check_same_call(prepared, past, watching.checkpoint)
    if not is_first_process():  # which speaks for all
        watching = dataclasses.replace(watching, progress=False, callbacks=())
    told = Callbacks(watching.callbacks, prepared.space, prepared.cohorts)
    sweep, ended = run_told(prepared, watching, told, stop_after, past)
    if watching.limit is not None and ended == ENDED:
        plan, rounds = prepared.plan, sweep.trained.rounds
        then = "" if plan.stopping else "; vt.extend(sweep, ...) trains on from there"
        then = then if watching.checkpoint is None else "; the same call goes on from there"
        watching.limit.say(plan, rounds, sweep.timing.compile, then)
    return sweep


def run_told(
    prepared: Prepared,
    watching: Watching,
    told: Callbacks,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
) -> tuple[Sweep, str | None]:
    """Runs a prepared sweep, tells callbacks of it, and keeps it.

    Returns:
      The sweep, and why it was to end, also where that was asked for after its last round; None
      where nobody did.
    """
    with contextlib.ExitStack() as held:
        keeper: Keeper | None = None
        if watching.checkpoint is not None:
            keeper = held.enter_context(keeping(watching.checkpoint, prepared, past))
            if watching.progress is not False:
                _say_where_it_goes_on(keeper, watching.checkpoint, prepared.plan.rounds)
            if keeper.finished is not None:
                return keeper.finished, None
        if past is None and (keeper is None or keeper.point is None):
            check_begins(prepared.arguments.data)
        if prepared.arguments.data is not None:
            keep_fingerprint(prepared.arguments.data)
        outcome = _run(prepared, watching, stop_after, past, told, keeper)
        plan, space, cohorts, arguments, drawn = prepared
        sweep = Sweep(finish(plan, space, cohorts, arguments, outcome, past=past, drawn=drawn))
        with processes.together("the callbacks' end", long=True):
            told.end(sweep)
        if keeper is not None:
            keeper.end(outcome, sweep)
        if outcome.error is not None:
            then = "" if keeper is None else "; the same call goes on from the last checkpoint"
            error = with_what_there_is(outcome.error, sweep, outcome.rounds, "round", then)
            raise error from outcome.error.__cause__
    return sweep, outcome.asked


def with_what_there_is(
    error: SourceError, sweep: Sweep, count: int, of: str, then: str = ""
) -> SourceError:
    """Returns the error with what was trained before, and says how much that is.

    Args:
      error: as it was raised, or with a part of the sweep. of: what was counted, a round or more.
      then: how to go on, if there is a way.
    """
    return SourceError(error.reason, sweep, f"{count} {of}{'s' if count > 1 else ''}{then}")


def _say_where_it_goes_on(keeper: Keeper, checkpoint: Checkpoint, rounds: int) -> None:
    if keeper.finished is not None:
        say(f"vtune: {checkpoint.folder} holds this sweep, finished; none is trained")
    elif keeper.point is not None:
        say(
            f"vtune: goes on from {checkpoint.folder}, after {keeper.point.done} of {rounds} rounds"
        )


def _run(
    prepared: Prepared,
    watching: Watching,
    stop_after: int | None,
    past: EarlierRun | None,
    told: Callbacks,
    keeper: Keeper | None,
) -> Outcome:
    """Runs the program with everything that looks on."""
    plan, space, cohorts, arguments, _ = prepared
    label = plan.metric if isinstance(plan.metric, str) else "score"
    members = sum(len(cohort.id) for cohort in cohorts)
    idle_cores(members)

    def look(carry: PyTree, done: int) -> tuple[Best | None, int]:
        populations = on_the_host(carry)
        best = leader(plan, space, cohorts, populations, done)
        return best, alive(plan, populations, done)

    parents = parents_watcher(arguments.refiner)
    given = (parents, told if watching.callbacks else None, watching.limit, keeper)
    watchers: list[Watcher] = [watcher for watcher in given if watcher is not None]
    point = None if keeper is None else keeper.point
    rounds = stop_after or plan.rounds
    shown = (watching.progress, rounds, members, len(cohorts), label, look, watching.part)
    with reporter(*shown) as report:
        with processes.together("callbacks", long=True):
            first = plan.past if point is None else point.done
            seed = int(arguments.seed)
            if watching.callbacks:
                told.begin(run_of(plan, space, cohorts, arguments.refiner, seed, first, past))
        part = bool(watching.part)
        return execute(plan, cohorts, arguments, report, stop_after, past, watchers, point, part)
