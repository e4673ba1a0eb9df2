"""Checks that a learner's functions give the same each time they are called.

A program keeps what they gave while they were traced. Where functions name a clock, random numbers
or a counter, the learner is traced anew, to see whether they are run at all, since a method that
draws data may lie beside the model. If they are, several more traces are compared.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from vtune.caches import bounded_cache
from vtune.engine.carry import Arguments, shared_weights
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.stepping import batch_shapes
from vtune.learner.chance import runs, sources
from vtune.learner.protocol import Learner
from vtune.learner.trace_cache import uncached
from vtune.runtime.equations import equations
from vtune.xla.difference import unsteady


def check_repeats(plan: Plan, cohort: CohortPlan, arguments: Arguments) -> None:
    """Raises ValueError if a function of the learner gives something else each time.

    Args:
      arguments: as shapes.
    """
    found = (_sources_of(plan.learner, plan.metric), sources(cohort.static.value))
    named = list(dict.fromkeys(name for part in found for name in part))
    if not named:
        return
    learner = _untraced(plan)
    batch = batch_shapes(arguments.data, cohort.batch_size)
    judged = batch_shapes(arguments.data, plan.eval_batch_size)
    weights = shared_weights(plan, arguments)
    trace = lambda: equations(learner, plan, cohort, batch, judged, weights)
    codes = [code for part in found for those in part.values() for code in those]
    if not runs(codes, trace):
        return
    differing = unsteady(trace)
    if differing is not None:
        name, values = differing
        raise ValueError(
            f"the learner's {name} gives something else each time it is called: "
            f"{' and '.join(values)}. One of your functions reads {', '.join(named)}; what it "
            "gave while it was traced would be part of the program, one value for all members and "
            "steps. Draw with jax.random and the key (augment= and learners of your own are given "
            "one), or draw before, outside the function"
        )


@bounded_cache(32)
def _sources_of(learner: Learner, metric: Any) -> dict[str, list[CodeType]]:
    return sources(learner, metric)


def _untraced(plan: Plan) -> Learner:
    """Returns the plan's learner with functions that are traced at every call, the metric that
    members are compared by among its scores."""
    functions = ("init", "step", "measure", "score", "predict")
    fresh: dict[str, Any] = {name: uncached(getattr(plan.learner, name)) for name in functions}
    metric, score = plan.metric, plan.learner.score
    if callable(metric):
        fresh["score"] = lambda totals: [metric(dict(score(totals))), score(totals)]
    return plan.learner._replace(**fresh)
