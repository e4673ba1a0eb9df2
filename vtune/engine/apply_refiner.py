"""Between rounds: the refiner is asked, and the population moved as it decides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import Group, own_slots
from vtune.engine.parallel import everywhere, replicated
from vtune.engine.plan import Plan
from vtune.engine.population import Population, gather
from vtune.refine.base import Refinement
from vtune.rng.keys import refine_key
from vtune.space.traced import snap
from vtune.types import Array, PyTree


def shrink(
    plan: Plan,
    group: Group,
    number: int,
    before: int,
    size: int,
    arguments: Arguments,
    carry: Carry,
) -> Carry:
    """Asks the refiner whom to keep; survivors come first, the dropped keep all but their state.

    The ids show afterwards who stands where.
    """
    population = leading(carry.population, before)
    (index,), (memory,) = group.indices, carry.memory
    refinement, memory = _ask(plan, index, jnp.int32(number), population, memory, arguments)
    kept = gather(population, refinement)
    gone = jnp.ones(before, bool).at[refinement.parents].set(False)
    (places,) = jnp.nonzero(gone, size=before - size, fill_value=0)

    def arrange(full: Array, old: Array, new: Array) -> Array:
        return jnp.concatenate([new, old[places], full[before:]])

    small = [p._replace(state=None) for p in (carry.population, population, kept)]
    state = jax.tree.map(
        lambda full, part: full.at[:size].set(part), carry.population.state, kept.state
    )
    parents = carry.record.parents.at[number, :size].set(refinement.parents)
    arranged = jax.tree.map(arrange, *small)._replace(state=state)
    shrunk = Carry(arranged, (memory,), carry.record._replace(parents=parents))
    return everywhere(shrunk, plan.layout)


def refine(
    plan: Plan,
    group: Group,
    number: Array,
    population: Population,
    memory: tuple[PyTree, ...],
    arguments: Arguments,
) -> tuple[Population, Array, tuple[PyTree, ...]]:
    """Asks the refiner before every round but the first, each cohort on its own, and moves all.

    One that says it is idle is never asked, and moving is not compiled.

    Returns:
      The population, parents [pop] as slots of their own cohorts, and the refiner's memories.
    """
    if getattr(arguments.refiner, "idle", False):
        return population, jnp.asarray(own_slots(group)), memory

    def ask(population: Population, memory: tuple[PyTree, ...]) -> Any:
        seen = group.parts(population._replace(state=None))
        asked = [
            _ask(plan, index, number, part, own, arguments)
            for index, part, own in zip(group.indices, seen, memory, strict=True)
        ]
        decisions, memories = zip(*asked, strict=True)
        own = jnp.concatenate([decision.parents for decision in decisions])
        hparams = jax.tree.map(lambda *v: jnp.concatenate(v), *[d.hparams for d in decisions])
        starts = np.repeat(np.asarray(group.starts, np.int32), group.sizes)
        return gather(population, Refinement(own + starts, hparams)), own, memories

    def stay(population: Population, memory: tuple[PyTree, ...]) -> Any:
        return population, jnp.asarray(own_slots(group)), memory

    return lax.cond(number > 0, ask, stay, population, memory)


def _ask(
    plan: Plan,
    index: int,
    number: Array,
    population: Population,
    memory: PyTree,
    arguments: Arguments,
) -> tuple[Refinement, PyTree]:
    """The refiner's decision; whatever it is, no hyperparameter leaves its range or grid."""
    space = arguments.space[index]
    key = refine_key(arguments.seed, number, index)
    ask = replicated(lambda refiner, *rest: refiner.refine(*rest), plan.layout)
    refinement, memory = ask(
        arguments.refiner, key, number, space, population.hparams, population.score, memory
    )
    hparams = {}
    for name, value in refinement.hparams.items():
        inherited = population.hparams[name][refinement.parents]
        inside = snap(space[name], jnp.asarray(value))
        kept = (value == inherited) | jnp.isnan(value)  # NaN has no place in any range
        hparams[name] = jnp.where(kept, inherited, inside)
    return Refinement(refinement.parents, hparams), memory


def leading(population: Population, size: int) -> Population:
    return jax.tree.map(lambda leaf: leaf[:size], population)
