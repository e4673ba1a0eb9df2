"""Whether the weights given as `init_from=` have a place in the model."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.carry import Arguments
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.stepping import batch_shapes
from vtune.hparams import Hparams
from vtune.learner.frozen import OTHERS, WEIGHTS, Variables
from vtune.learner.lookahead import slow
from vtune.learner.net import NetState
from vtune.learner.pretrained import unknown
from vtune.learner.protocol import traced_once
from vtune.rng.keys import member_key
from vtune.runtime.compile import argument_shapes
from vtune.runtime.diagnose import trace_member
from vtune.types import Batch, PyTree


class Beginning(NamedTuple):
    """A member as its learner makes it, and what it is given.

    Attributes:
      state: with drawn variables. batch: that it was made for, zeros.
      own: its variables. given: those of `init_from=`, as far as they are for such members.
    """

    state: NetState
    batch: Batch
    own: Variables
    given: Variables

    @property
    def nowhere(self) -> dict[tuple, str]:
        """What is given and has no place here: by path, in words."""
        return {
            (kind, *path): what
            for kind, own, given in zip((WEIGHTS, OTHERS), self.own, self.given, strict=True)
            for path, what in unknown(own, given).items()
        }


def beginning(
    plan: Plan, cohort: CohortPlan, arguments: Arguments, h: Hparams, weights: PyTree
) -> Beginning:
    """Returns the first state of a member of a network, traced."""
    learner = traced_once(plan.learner)
    assert learner.freezing is not None
    shapes = batch_shapes(arguments.data, cohort.batch_size)
    batch = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    state = learner.init(member_key(np.uint32(0), 0), h, batch)
    own = Variables(slow(state.params), state.other)
    given = Variables(*learner.freezing.net.split(weights, *own))
    return Beginning(state, batch, own, given)


def check_given(plan: Plan, weights: PyTree) -> None:
    """Raises ValueError for given weights that no member has a place for.

    Args:
      plan: of a learner whose members share nothing. weights: as `init_from=` gave them.
    """
    if plan.learner.freezing is None or weights is None:
        return
    nowhere: list[dict[tuple, str]] = []
    look = functools.partial(_look, nowhere, weights)
    for cohort in plan.cohorts:
        trace_member(look, plan, cohort, argument_shapes(plan))
    check_known(nowhere)


def check_known(nowhere: list[dict[tuple, str]]) -> None:
    """Raises ValueError for what has no place in any cohort. Where structures differ, such as in
    the number of layers, each member takes what it has.

    Args:
      nowhere: by cohort, see `Beginning.nowhere`.
    """
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
    nowhere.append(beginning(plan, cohort, arguments, h, weights).nowhere)
