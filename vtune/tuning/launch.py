"""Runs a prepared sweep, shows its progress, tells its callbacks and makes its result."""

from __future__ import annotations

from typing import Any

from vtune.engine.carry import EarlierRun
from vtune.results.report import Best, alive, leader, on_the_host, run_of
from vtune.results.sweep import Sweep
from vtune.results.trained import finish
from vtune.runtime.execute import execute
from vtune.runtime.time_limit import ENDED, TimeLimit
from vtune.runtime.watch import Watcher
from vtune.tuning.callbacks import Callbacks
from vtune.tuning.hints import idle_cores
from vtune.tuning.prepare import Prepared
from vtune.tuning.progress import reporter
from vtune.types import PyTree


def run_prepared(
    prepared: Prepared,
    progress: bool | None,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
    limit: TimeLimit | None = None,
    callbacks: tuple[Any, ...] = (),
) -> Sweep:
    """Runs a prepared sweep and returns its result.

    Args:
      progress: see `reporter`.
      stop_after: so many rounds are run; None for all. past: of an extended sweep, what it was.
      limit: of its time. callbacks: as checked.
    """
    plan, space, cohorts, arguments = prepared
    label = plan.metric if isinstance(plan.metric, str) else "score"
    members = sum(len(cohort.id) for cohort in cohorts)
    idle_cores(members)

    def look(carry: PyTree, done: int) -> tuple[Best | None, int]:
        populations = on_the_host(carry)
        best = leader(plan, space, cohorts, populations, done)
        return best, alive(plan, populations, done)

    told = Callbacks(callbacks, space, cohorts)
    watchers: list[Watcher] = [told] if callbacks else []
    if limit is not None:
        watchers.append(limit)
    rounds = stop_after or plan.rounds
    with reporter(progress, rounds, members, len(cohorts), label, look) as report:
        if callbacks:
            told.begin(run_of(plan, space, cohorts, arguments.refiner, int(arguments.seed), past))
        outcome = execute(plan, cohorts, arguments, report, stop_after, past, watchers)
    if limit is not None and outcome.ended == ENDED:
        then = "" if plan.stopping else "; vt.extend(sweep, ...) trains on from there"
        limit.say(plan, outcome.rounds, outcome.compile_seconds, then)
    sweep = Sweep(finish(plan, space, cohorts, arguments, outcome, past=past))
    told.end(sweep)
    return sweep
