"""What enters a program in the place of data on the host: a window as large as it needs."""

from __future__ import annotations

import dataclasses

from vtune.data.window import window_of
from vtune.engine.carry import Arguments
from vtune.engine.initialize import initial_shapes
from vtune.engine.lanes import lanes, rows_needed
from vtune.engine.pieces import readings
from vtune.engine.plan import Plan, describe
from vtune.runtime.compile import argument_shapes


def with_window(plan: Plan, arguments: Arguments) -> tuple[Plan, Arguments]:
    """Returns a plan and its arguments with a window in the place of data on the host; as they are
    where there are none."""
    data = arguments.data
    if data is None or not data.on_host:
        return plan, arguments
    shapes = argument_shapes(plan)
    populations = [carry.population for carry in initial_shapes(plan, shapes)]
    rows = max(
        rows_needed(reading, lane.cohort.batch_size or 1, plan.eval_batch_size or 1)
        for lane, reading in zip(lanes(plan), readings(plan, populations, shapes), strict=True)
    )
    arguments = arguments._replace(data=window_of(data, rows))
    return dataclasses.replace(plan, arguments=describe(arguments)), arguments
