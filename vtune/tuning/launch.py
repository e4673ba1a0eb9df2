"""Runs a prepared sweep, shows its progress and makes its result."""

from __future__ import annotations

from vtune.engine.carry import EarlierRun
from vtune.results.sweep import Sweep
from vtune.results.trained import finish
from vtune.runtime.execute import execute
from vtune.runtime.time_limit import ENDED, TimeLimit
from vtune.tuning.hints import idle_cores
from vtune.tuning.prepare import Prepared
from vtune.tuning.progress import reporter


def run_prepared(
    prepared: Prepared,
    progress: bool | None,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
    limit: TimeLimit | None = None,
) -> Sweep:
    """Runs a prepared sweep and returns its result.

    Args:
      progress: see `reporter`.
      stop_after: so many rounds are run; None for all. past: of an extended sweep, what it was.
      limit: of its time.
    """
    plan, space, cohorts, arguments = prepared
    label = plan.metric if isinstance(plan.metric, str) else "score"
    members = sum(len(cohort.id) for cohort in cohorts)
    idle_cores(members)
    with reporter(progress, stop_after or plan.rounds, members, label, plan.sign) as report:
        watchers = [limit] if limit is not None else []
        outcome = execute(plan, cohorts, arguments, report, stop_after, past, watchers)
    if limit is not None and outcome.ended == ENDED:
        then = "" if plan.stopping else "; vt.extend(sweep, ...) trains on from there"
        limit.say(plan, outcome.rounds, outcome.compile_seconds, then)
    return Sweep(finish(plan, space, cohorts, arguments, outcome, past=past))
