"""Runs a prepared sweep, shows its progress and makes its result."""

from __future__ import annotations

from collections.abc import Sequence

from vtune.engine.carry import EarlierRun
from vtune.results.sweep import Sweep
from vtune.results.trained import finish
from vtune.runtime.execute import Outcome, execute
from vtune.runtime.notices import say
from vtune.runtime.resume import Point
from vtune.runtime.time_limit import ENDED, TimeLimit
from vtune.runtime.watch import Watcher
from vtune.tuning.checkpoints.keeper import keeping
from vtune.tuning.checkpoints.settings import Checkpoint
from vtune.tuning.hints import idle_cores
from vtune.tuning.prepare import Prepared
from vtune.tuning.progress import reporter


def run_prepared(
    prepared: Prepared,
    progress: bool | None,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
    limit: TimeLimit | None = None,
    checkpoint: Checkpoint | None = None,
) -> Sweep:
    """Runs a prepared sweep and returns its result.

    Args:
      progress: see `reporter`.
      stop_after: so many rounds are run; None for all. past: of an extended sweep, what it was.
      limit: of its time. checkpoint: where it is kept, and goes on from.
    """
    watchers: list[Watcher] = [] if limit is None else [limit]
    if checkpoint is None:
        sweep, outcome = _run(prepared, progress, stop_after, past, watchers)
    else:
        with keeping(checkpoint, prepared, past) as keeper:
            if keeper.finished is not None:
                if progress is not False:
                    say(f"vtune: {checkpoint.folder} holds this sweep, finished; none is trained")
                return keeper.finished
            if keeper.point is not None and progress is not False:
                done, rounds = keeper.point.done, prepared.plan.rounds
                say(f"vtune: goes on from {checkpoint.folder}, after {done} of {rounds} rounds")
            watchers.append(keeper)
            point = keeper.point
            sweep, outcome = _run(prepared, progress, stop_after, past, watchers, point)
            keeper.end(outcome, sweep)
    if limit is not None and outcome.ended == ENDED:
        then = "" if prepared.plan.stopping else "; vt.extend(sweep, ...) trains on from there"
        then = then if checkpoint is None else "; the same call goes on from there"
        limit.say(prepared.plan, outcome.rounds, outcome.compile_seconds, then)
    return sweep


def _run(
    prepared: Prepared,
    progress: bool | None,
    stop_after: int | None,
    past: EarlierRun | None,
    watchers: Sequence[Watcher],
    point: Point | None = None,
) -> tuple[Sweep, Outcome]:
    plan, space, cohorts, arguments = prepared
    label = plan.metric if isinstance(plan.metric, str) else "score"
    members = sum(len(cohort.id) for cohort in cohorts)
    idle_cores(members)
    with reporter(progress, stop_after or plan.rounds, members, label, plan.sign) as report:
        outcome = execute(plan, cohorts, arguments, report, stop_after, past, watchers, point)
    return Sweep(finish(plan, space, cohorts, arguments, outcome, past=past)), outcome
