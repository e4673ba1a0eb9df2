"""The equations of a learner's functions, traced for one member with shapes only."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vtune.engine.plan import CohortPlan, Plan
from vtune.learner.frozen import sharing
from vtune.learner.protocol import Learner
from vtune.rng.keys import member_key
from vtune.types import PyTree, float_dtype


def equations(
    learner: Learner,
    plan: Plan,
    cohort: CohortPlan,
    batch: PyTree,
    judged: PyTree,
    weights: PyTree = None,
) -> dict[str, Any]:
    """Returns the equations of one member's functions by name. Nothing is computed.

    Args:
      learner: that of the plan, or the same with other wrappers.
      batch, judged: the shapes of a training batch and of an evaluation batch.
      weights: as shapes, in which the frozen variables are; None where members have none.
    """
    key = jax.eval_shape(lambda: member_key(np.uint32(0), 0))
    traced = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}
    weight = jax.ShapeDtypeStruct((plan.eval_batch_size or 1,), float_dtype())
    found: dict[str, Any] = {}

    def trace(name: str, call: Any, *arguments: Any) -> Any:
        found[name], shapes = jax.make_jaxpr(call, return_shape=True)(traced, *arguments)
        return shapes

    state = trace("init", lambda t, k, b: learner.init(k, cohort.h(t), b), key, batch)
    of = lambda weights: sharing(learner, weights)
    step = lambda t, k, s, b, shared: of(shared).step(k, cohort.h(t), s, b)
    trace("step", step, key, state, batch, weights)
    measure = lambda t, k, s, b, w, shared: of(shared).measure(k, cohort.h(t), s, b, w)
    totals = trace("measure", measure, key, state, judged, weight, weights)
    trace("score", lambda t, totals: learner.score(totals), totals)
    if learner.predict is not None:
        predict: Any = lambda t, s, b, shared: of(shared).predict(cohort.h(t), s, b)
        trace("predict", predict, state, judged, weights)
    return found
