"""Before members are scored: what a learner makes of some training batches for the scored weights.

The batches are the first ones of the epoch that comes next. A member's key is that of the
evaluation: folded with the number of steps done, then with the batch's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from vtune.engine import early_stopping
from vtune.engine.carry import Arguments, shared_weights
from vtune.engine.fold_steps import of_fold, with_own_lengths
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import Replicate, over_population, replicate_key
from vtune.engine.stepping import Stepping
from vtune.learner.frozen import sharing
from vtune.learner.protocol import traced_once
from vtune.rng.threefry import folded
from vtune.types import Array, PyTree


def refreshed(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    stepping: Stepping,
    end: Array,
    arguments: Arguments,
) -> list[Population]:
    """Returns the populations with states that are ready to be scored.

    Args:
      end: the steps that were trained; [folds] where folds have their own.
    """
    learner = plan.learner
    rows = None
    if learner.refresh is not None:
        rows = stepping.leading_rows(arguments.seed, end, learner.refresh_batches)
    return refreshed_on(plan, cohorts, populations, stepping, end, rows, arguments)


def refreshed_on(
    plan: Plan,
    cohorts: Sequence[CohortPlan],
    populations: Sequence[Population],
    stepping: Stepping,
    end: Array,
    rows: Array | None,
    arguments: Arguments,
) -> list[Population]:
    """Does so by these rows, [..., batches, batch]."""
    data, learner = arguments.data, traced_once(plan.learner)
    if data is None or rows is None:
        return list(populations)
    lengths, weights = stepping.lengths, shared_weights(plan, arguments)

    def lifted(cohort: CohortPlan) -> Any:
        def one_replicate(
            replicate: Replicate | None, member: Any, state: PyTree, batch: Any, shared: Any
        ) -> PyTree:
            (id, traced, active), (seed, end, number, lengths, weights) = member, shared
            own = replicate_key(plan.replicates, seed, id, replicate)
            key = folded(own, of_fold(end, replicate), number)
            h = cohort.h(with_own_lengths(cohort, lengths, traced, replicate))
            go = True if active is None else active
            if lengths is not None and replicate is not None:
                go &= number < lengths.steps_per_epoch[replicate.fold]
            refresh = sharing(learner, weights).refresh
            assert refresh is not None
            ready = lambda state: refresh(key, h, state, batch(), number)
            return ready(state) if go is True else lax.cond(go, ready, lambda state: state, state)

        return over_population(one_replicate, plan.replicates, plan.layout, in_place=True)

    ready = [lifted(cohort) for cohort in cohorts]

    def one_batch(number: Array, states: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        batch = data.take(jnp.take(rows, number, axis=rows.ndim - 2))
        shared = (arguments.seed, end, number, lengths, weights)
        return tuple(
            make((p.id, p.hparams, early_stopping.active(p)), state, batch, shared)
            for make, p, state in zip(ready, populations, states, strict=True)
        )

    states = lax.fori_loop(0, rows.shape[-2], one_batch, tuple(p.state for p in populations))
    return [p._replace(state=state) for p, state in zip(populations, states, strict=True)]
