"""Calls the refiner between rounds, and moves the population as it decides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import Group, slots_in_cohort
from vtune.engine.early_stopping import held
from vtune.engine.parallel import everywhere, replicated
from vtune.engine.plan import Plan
from vtune.engine.population import Population, gather
from vtune.refine.base import Refinement
from vtune.rng.keys import refine_key
from vtune.space.traced import snap
from vtune.types import Array, PyTree


def refine(
    plan: Plan,
    group: Group,
    number: Array,
    population: Population,
    memory: tuple[PyTree, ...],
    arguments: Arguments,
) -> tuple[Population, Array, tuple[PyTree, ...]]:
    """Asks the refiner before every round but the first, for each cohort apart, and moves the
    group as it decides.

    A refiner that says it is idle is never asked, and no moving is compiled.

    Returns:
      The population, parents [pop] as slots of their own cohorts, and the refiner's memories.
    """
    if getattr(arguments.refiner, "idle", False):
        return population, jnp.asarray(slots_in_cohort(group)), memory

    def ask(population: Population, memory: tuple[PyTree, ...]) -> Any:
        parts = group.parts(population._replace(state=None))
        answers = [
            _decide(plan, index, number, part, part_memory, arguments)
            for index, part, part_memory in zip(group.indices, parts, memory, strict=True)
        ]
        decisions, memories = zip(*answers, strict=True)
        parents = jnp.concatenate([decision.parents for decision in decisions])
        hparams = jax.tree.map(lambda *v: jnp.concatenate(v), *[d.hparams for d in decisions])
        starts = np.repeat(np.asarray(group.starts, np.int32), group.sizes)
        moved = gather(population, Refinement(parents + starts, hparams), plan.layout)
        return moved, parents, memories

    def stay(population: Population, memory: tuple[PyTree, ...]) -> Any:
        return population, jnp.asarray(slots_in_cohort(group)), memory

    return lax.cond(number > 0, ask, stay, population, memory)


def shrink(
    plan: Plan,
    group: Group,
    number: int,
    before: int,
    size: int,
    arguments: Arguments,
    carry: Carry,
) -> Carry:
    """Asks the refiner whom to keep, and moves the survivors to the leading slots.

    Dropped members come after them and keep all but their states; the ids show who is where.

    Args:
      number: the coming round. before, size: members before and after.
    """
    population = leading_slots(carry.population, before)
    (index,), (memory,) = group.indices, carry.memory
    refinement, memory = _decide(plan, index, jnp.int32(number), population, memory, arguments)
    survivors = gather(population, refinement)
    dropped = jnp.ones(before, bool).at[refinement.parents].set(False)
    (dropped_slots,) = jnp.nonzero(dropped, size=before - size, fill_value=0)

    def arrange(full: Array, old: Array, new: Array) -> Array:
        return jnp.concatenate([new, old[dropped_slots], full[before:]])

    stateless = [p._replace(state=None) for p in (carry.population, population, survivors)]
    state = jax.tree.map(
        lambda full, part: full.at[:size].set(part), carry.population.state, survivors.state
    )
    parents = carry.record.parents.at[number, :size].set(refinement.parents)
    arranged = jax.tree.map(arrange, *stateless)._replace(state=state)
    shrunk = Carry(arranged, (memory,), carry.record._replace(parents=parents))
    return everywhere(shrunk, plan.layout)


def leading_slots(population: Population, size: int) -> Population:
    """Returns the first `size` slots of a population."""
    return jax.tree.map(lambda leaf: leaf[:size], population)


def _decide(
    plan: Plan,
    index: int,
    number: Array,
    population: Population,
    memory: PyTree,
    arguments: Arguments,
) -> tuple[Refinement, PyTree]:
    """Returns the refiner's decision for one cohort, with every hyperparameter brought back into
    its range or grid, and the refiner's memory. Who has stopped is not moved."""
    space = arguments.space[index]
    key = refine_key(arguments.seed, number, index)
    ask = replicated(lambda refiner, *rest: refiner.refine(*rest), plan.layout)
    score = population.score if population.objectives is None else population.objectives
    refinement, memory = ask(
        arguments.refiner, key, number, space, population.hparams, score, memory
    )
    hparams = {}
    for name, value in refinement.hparams.items():
        inherited = population.hparams[name][refinement.parents]
        inside = snap(space[name], jnp.asarray(value))
        unchanged = (value == inherited) | jnp.isnan(value)  # NaN lies in no range
        hparams[name] = jnp.where(unchanged, inherited, inside)
    return held(population, Refinement(refinement.parents, hparams)), memory
