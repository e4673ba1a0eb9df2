"""Cohorts that share work: those of a group a program, those of a batch group their batches."""

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
      indices: the cohorts' numbers in the plan.
      sizes: the members of each cohort; the group's slots are those of one cohort after the other.
      cohort: the plan that the cohorts share, with the size of all together.
    """

    indices: tuple[int, ...]
    sizes: tuple[int, ...]
    cohort: CohortPlan

    @property
    def starts(self) -> tuple[int, ...]:
        """The first slot of each cohort."""
        return tuple(int(sum(self.sizes[:i])) for i in range(len(self.sizes)))

    def parts(self, tree: PyTree, axis: int = 0) -> list[Any]:
        """Cuts arrays of all members into one tree for each cohort.

        Args:
          axis: the members' axis.
        """
        cut = lambda start, size: jax.tree.map(
            lambda leaf: jax.lax.slice_in_dim(leaf, start, start + size, axis=axis), tree
        )
        if len(self.sizes) == 1:
            return [tree]
        return [cut(start, size) for start, size in zip(self.starts, self.sizes, strict=True)]


def groups(plan: Plan) -> tuple[Group, ...]:
    """Returns the groups of a plan's cohorts.

    A cohort that shrinks is a group of its own, since its slots are sorted anew at every rung.
    """
    indices_of: dict[Any, list[int]] = {}
    for index, cohort in enumerate(plan.cohorts):
        identity = (cohort, index) if cohort.shrinks else _with_size(cohort, 0)
        indices_of.setdefault(identity, []).append(index)
    result = []
    for indices in indices_of.values():
        sizes = tuple(plan.cohorts[i].size for i in indices)
        cohort = plan.cohorts[indices[0]]
        if len(indices) > 1:
            cohort = _with_size(cohort, sum(sizes))
        result.append(Group(tuple(indices), sizes, cohort))
    return tuple(result)


def batch_groups(all_groups: tuple[Group, ...]) -> tuple[tuple[Group, ...], ...]:
    """Returns the groups, those together that take the same batches in the same steps.

    Rows are shuffled and gathered once for all of them. A group that shrinks is alone, since its
    rounds are those of its own rungs.
    """
    together: dict[Any, list[Group]] = {}
    for group in all_groups:
        cohort = group.cohort
        batches = (
            cohort.batch_size,
            cohort.steps,
            cohort.steps_per_epoch,
            cohort.by_fold,
            cohort.own_epochs,
        )
        together.setdefault(group.indices if cohort.shrinks else batches, []).append(group)
    return tuple(map(tuple, together.values()))


def join_carries(carries: Iterable[Carry]) -> Carry:
    """Joins the carries of several cohorts to one, with a tuple of the refiner's memories."""
    populations, memories, records = zip(*carries, strict=True)
    if len(populations) == 1:
        return Carry(populations[0], memories, records[0])
    concatenated = lambda axis: lambda *leaves: jnp.concatenate(leaves, axis)
    population = jax.tree.map(concatenated(0), *populations)
    return Carry(population, memories, jax.tree.map(concatenated(1), *records))


def split_carry(group: Group, carry: Carry) -> list[Carry]:
    """Splits a group's carry into those of its cohorts."""
    populations: list[Population] = group.parts(carry.population)
    records = group.parts(carry.record, axis=1)
    return [Carry(*parts) for parts in zip(populations, carry.memory, records, strict=True)]


def carries_by_group(plan: Plan, carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
    """Joins the carries of all cohorts to one for each group."""
    return tuple(join_carries(carries[index] for index in group.indices) for group in groups(plan))


def carries_by_cohort(plan: Plan, carries: Iterable[Carry]) -> tuple[Carry, ...]:
    """Splits the carries of all groups into one for each cohort, in the order of the plan."""
    carry_of: dict[int, Carry] = {}
    for group, carry in zip(groups(plan), carries, strict=True):
        carry_of |= zip(group.indices, split_carry(group, carry), strict=True)
    return tuple(carry_of[index] for index in range(len(plan.cohorts)))


def slots_in_cohort(group: Group) -> np.ndarray:
    """Returns every member's slot in its own cohort, [pop] int32."""
    return np.concatenate([np.arange(size, dtype=np.int32) for size in group.sizes])


def _with_size(cohort: CohortPlan, size: int) -> CohortPlan:
    rungs = tuple(rung._replace(size=size) for rung in cohort.rungs)
    return dataclasses.replace(cohort, size=size, rungs=rungs)
