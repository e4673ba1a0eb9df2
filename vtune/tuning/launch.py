"""Runs a prepared sweep and makes its result."""

from __future__ import annotations

from vtune.engine.carry import EarlierRun
from vtune.results.sweep import Sweep, finish
from vtune.runtime.execute import execute
from vtune.tuning.hints import idle_cores
from vtune.tuning.prepare import Prepared
from vtune.tuning.progress import reporter


def run_prepared(
    prepared: Prepared,
    progress: bool | None,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
) -> Sweep:
    """Runs the program, with a live bar where it is wanted; all rounds, or the first few. `past`
    is what a sweep that goes on was before."""
    plan, space, cohorts, arguments = prepared
    label = plan.metric if isinstance(plan.metric, str) else "score"
    members = sum(len(cohort.id) for cohort in cohorts)
    idle_cores(members)
    with reporter(progress, stop_after or plan.rounds, members, label, plan.sign) as report:
        outcome = execute(plan, cohorts, arguments, report, stop_after, past)
    stopped = "stopped" if outcome.rounds == stop_after else "interrupted"
    return finish(plan, space, cohorts, arguments, outcome, stopped, past)
