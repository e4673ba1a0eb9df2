"""The equations of a learner's functions, traced for one member with shapes only."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vtune.engine.plan import CohortPlan, Plan
from vtune.learner.protocol import Learner
from vtune.rng.keys import member_key
from vtune.types import PyTree, float_dtype


def equations(
    learner: Learner, plan: Plan, cohort: CohortPlan, batch: PyTree, judged: PyTree
) -> dict[str, Any]:
    """Returns the equations of one member's functions by name. Nothing is computed.

    Args:
      learner: that of the plan, or the same with other wrappers.
      batch, judged: the shapes of a training batch and of an evaluation batch.
    """
    key = jax.eval_shape(lambda: member_key(np.uint32(0), 0))
    traced = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}
    weight = jax.ShapeDtypeStruct((plan.eval_batch_size or 1,), float_dtype())
    found: dict[str, Any] = {}

    def trace(name: str, call: Any, *arguments: Any) -> Any:
        found[name], shapes = jax.make_jaxpr(call, return_shape=True)(traced, *arguments)
        return shapes

    state = trace("init", lambda t, k, b: learner.init(k, cohort.h(t), b), key, batch)
    trace("step", lambda t, k, s, b: learner.step(k, cohort.h(t), s, b), key, state, batch)
    measure = lambda t, k, s, b, w: learner.measure(k, cohort.h(t), s, b, w)
    totals = trace("measure", measure, key, state, judged, weight)
    trace("score", lambda t, totals: learner.score(totals), totals)
    predict = learner.predict
    if predict is not None:
        trace("predict", lambda t, s, b: predict(cohort.h(t), s, b), state, judged)
    return found
