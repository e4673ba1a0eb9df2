"""`cache_features=True`: what depends on a row and on frozen variables alone, once for a whole run.

It is computed by a program of its own, before the first round.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from vtune.caches import bounded_cache
from vtune.engine.carry import Arguments, Features
from vtune.engine.features import Works, all_features, feature_shapes, works_of
from vtune.engine.initialize import initial_shapes
from vtune.engine.plan import Plan
from vtune.types import Array

LEAST_DIFFERENCE = 1e-3  # relative; of rows that do not look at each other it is 0


def shapes_of_features(plan: Plan, arguments: Arguments) -> tuple[Features, ...]:
    """Returns by group the features as shapes.

    Args:
      arguments: as shapes.

    Raises:
      ValueError: there are none, or they are not of single rows.
    """
    works, data = _works(plan, arguments), arguments.data
    if data is None or plan.eval_batch_size is None:
        raise ValueError("cache_features: the learner makes its own data, so it has no rows")
    return tuple(feature_shapes(one, data, _folds(plan)) for one in works)


def with_features(plan: Plan, arguments: Arguments) -> Arguments:
    """Returns the arguments with the features of all rows.

    Raises:
      ValueError: those of a row depend on the other rows of its batch.
    """
    found, off = _program(plan)(arguments)
    if float(off) > LEAST_DIFFERENCE:
        raise ValueError(
            "cache_features: what a row gives below the frozen part depends on the other rows of "
            f"its batch (by {float(off):.2g} of the largest number), as behind a BatchNorm in "
            "training mode; give it use_running_average=True, or leave cache_features out"
        )
    return arguments._replace(features=found)


@bounded_cache(8, Plan.reads)
def _program(plan: Plan) -> Any:
    def compute(arguments: Arguments) -> tuple[tuple[Features, ...], Array]:
        works = _works(plan, arguments)
        found = [all_features(plan, one, _folds(plan), arguments) for one in works]
        return tuple(features for features, _ in found), jnp.max(jnp.stack([o for _, o in found]))

    return jax.jit(compute)


def _works(plan: Plan, arguments: Arguments) -> tuple[Works, ...]:
    carries = initial_shapes(plan, arguments)
    return works_of(plan, [carry.population for carry in carries], arguments)


def _folds(plan: Plan) -> int:
    return 1 if plan.replicates is None else plan.replicates.folds
