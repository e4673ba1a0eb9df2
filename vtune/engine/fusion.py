"""Decides how many members a core steps together."""

from __future__ import annotations

import math

import jax

from vtune.data.dataset import Data
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.engine.replicates import replicate_shape
from vtune.xla.loops import fused


def fused_members(plan: Plan, population: Population, data: Data | None) -> int:
    """How many trainings a core steps abreast, where that is faster: those that share their batches
    and all go on to the end.

    Args:
      population, data: shapes will do.
    """
    folded = plan.replicates is not None and plan.replicates.folded
    padded = data is not None and data.traced_sizes is not None
    if plan.layout.chunk != "auto" or padded or folded or population.stopped is not None:
        return 1
    inner = replicate_shape(plan.replicates)
    one = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1 + len(inner) :], leaf.dtype),
        population.state,
    )
    size = math.prod((-(-population.id.shape[0] // (plan.layout.devices or 1)), *inner))
    return fused.count(one, size)
