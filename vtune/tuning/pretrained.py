"""Whether the weights given as `init_from=` have a place in the model."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.carry import Arguments
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.stepping import batch_shapes
from vtune.hparams import Hparams
from vtune.learner.lookahead import slow
from vtune.learner.pretrained import unknown
from vtune.learner.protocol import traced_once
from vtune.rng.keys import member_key
from vtune.runtime.compile import argument_shapes
from vtune.runtime.diagnose import trace_member
from vtune.types import PyTree


def check_known(plan: Plan, weights: PyTree) -> None:
    """Raises ValueError for given weights that no member has a place for. Where structures differ,
    such as in the number of layers, each member takes those that it has.

    Args:
      plan: of a learner whose members share nothing. weights: as `init_from=` gave them.
    """
    if plan.learner.freezing is None or weights is None:
        return
    nowhere: list[dict[tuple, str]] = []
    for cohort in plan.cohorts:
        trace_member(
            functools.partial(_look, nowhere, weights), plan, cohort, argument_shapes(plan)
        )
    missing = set.intersection(*map(set, nowhere))
    for path, what in nowhere[0].items():
        if path in missing:
            raise ValueError(f"init_from: the model has no {what}; leave it out")


def _look(
    nowhere: list[dict[tuple, str]],
    weights: PyTree,
    plan: Plan,
    cohort: CohortPlan,
    arguments: Arguments,
    h: Hparams,
) -> None:
    """Adds to `nowhere` what one member has no place for."""
    learner, key = traced_once(plan.learner), member_key(np.uint32(0), 0)
    shapes = batch_shapes(arguments.data, cohort.batch_size)
    state = learner.init(key, h, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))
    assert learner.freezing is not None
    params = slow(state.params)
    given_params, given_other = learner.freezing.net.split(weights, params, state.other)
    nowhere.append(
        {("params", *path): what for path, what in unknown(params, given_params).items()}
        | {("other", *path): what for path, what in unknown(state.other, given_other).items()}
    )
