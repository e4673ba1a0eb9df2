"""Cohorts that share what they can: groups run the same program, lanes take the same batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.carry import Carry
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.types import PyTree


class Group(NamedTuple):
    """Cohorts with the same structural values, such as the parts of a union of spaces.

    Attributes:
      indices: their numbers in the plan. sizes: their members, who stand one cohort after the
        other. cohort: what they share, with the size of all together.
    """

    indices: tuple[int, ...]
    sizes: tuple[int, ...]
    cohort: CohortPlan

    @property
    def starts(self) -> tuple[int, ...]:
        """The slot that each cohort begins at."""
        return tuple(int(sum(self.sizes[:i])) for i in range(len(self.sizes)))

    def parts(self, tree: PyTree, axis: int = 0) -> list[Any]:
        """A tree of all members' arrays, cut up by cohort."""
        cut = lambda start, size: jax.tree.map(
            lambda leaf: jax.lax.slice_in_dim(leaf, start, start + size, axis=axis), tree
        )
        if len(self.sizes) == 1:
            return [tree]
        return [cut(start, size) for start, size in zip(self.starts, self.sizes, strict=True)]


def groups(plan: Plan) -> tuple[Group, ...]:
    """The cohorts of a plan, those that can be trained together side by side.

    A cohort that shrinks is alone: its slots are sorted anew where the rung changes.
    """
    found: dict[Any, list[int]] = {}
    for index, cohort in enumerate(plan.cohorts):
        alike = (cohort, index) if cohort.shrinks else _of_size(cohort, 0)
        found.setdefault(alike, []).append(index)
    result = []
    for indices in found.values():
        sizes = tuple(plan.cohorts[i].size for i in indices)
        cohort = plan.cohorts[indices[0]]
        whole = cohort if len(indices) == 1 else _of_size(cohort, sum(sizes))
        result.append(Group(tuple(indices), sizes, whole))
    return tuple(result)


def lanes(found: tuple[Group, ...]) -> tuple[tuple[Group, ...], ...]:
    """The groups that take the same batches in the same steps: rows are shuffled and gathered once
    for all of a lane. A group that shrinks is alone, as its rounds are those of its own rungs."""
    lanes: dict[Any, list[Group]] = {}
    for group in found:
        cohort = group.cohort
        pace = (cohort.batch_size, cohort.steps, cohort.steps_per_epoch)
        lanes.setdefault(group.indices if cohort.shrinks else pace, []).append(group)
    return tuple(tuple(lane) for lane in lanes.values())


def join(carries: Iterable[Carry]) -> Carry:
    """One carry of several cohorts; each keeps its own refiner's memory."""
    populations, memories, records = zip(*carries, strict=True)
    if len(populations) == 1:
        return Carry(populations[0], memories, records[0])
    beside = lambda axis: lambda *leaves: jnp.concatenate(leaves, axis)
    return Carry(jax.tree.map(beside(0), *populations), memories, jax.tree.map(beside(1), *records))


def split(group: Group, carry: Carry) -> list[Carry]:
    """The carries of the cohorts, from the one of all."""
    populations: list[Population] = group.parts(carry.population)
    records = group.parts(carry.record, axis=1)
    return [Carry(*each) for each in zip(populations, carry.memory, records, strict=True)]


def joined(plan: Plan, carry: tuple[Carry, ...]) -> tuple[Carry, ...]:
    """By group one carry, from those of the cohorts."""
    return tuple(join(carry[index] for index in group.indices) for group in groups(plan))


def by_cohort(plan: Plan, carries: Iterable[Carry]) -> tuple[Carry, ...]:
    """The groups' carries taken apart, in the order of the plan's cohorts."""
    made: dict[int, Carry] = {}
    for group, carry in zip(groups(plan), carries, strict=True):
        made |= zip(group.indices, split(group, carry), strict=True)
    return tuple(made[index] for index in range(len(plan.cohorts)))


def own_slots(group: Group) -> np.ndarray:
    """[pop] int32, every member's slot in its own cohort."""
    return np.concatenate([np.arange(size, dtype=np.int32) for size in group.sizes])


def _of_size(cohort: CohortPlan, size: int) -> CohortPlan:
    rungs = tuple(rung._replace(size=size) for rung in cohort.rungs)
    return dataclasses.replace(cohort, size=size, rungs=rungs)
