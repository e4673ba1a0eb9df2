"""Decides how many members a CPU core trains together, in one fused loop over their steps."""

from __future__ import annotations

import math

import jax

from vtune.data.dataset import Data
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.engine.replicates import replicate_shape
from vtune.xla.loops import fused


def fused_members(plan: Plan, population: Population, data: Data | None) -> int:
    """Returns how many trainings a core steps together, where that is faster; 1 elsewhere.

    Only trainings that share their batches and all train to the end can be fused.

    Args:
      population, data: shapes will do.
    """
    folded = plan.replicates is not None and plan.replicates.folded
    padded = data is not None and data.traced_sizes is not None
    if plan.layout.chunk != "auto" or padded or folded or population.stopped is not None:
        return 1
    replicates = replicate_shape(plan.replicates)
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1 + len(replicates) :], leaf.dtype),
        population.state,
    )
    members = -(-population.id.shape[0] // (plan.layout.devices or 1))
    return fused.count(state, math.prod((members, *replicates)))
