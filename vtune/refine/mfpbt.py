"""Multiple-frequencies population-based training (Doulazmi et al. 2025, arXiv 2506.03225)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.refine.base import Refinement, Rung, rank
from vtune.refine.exploit import ranks
from vtune.refine.explore import draw, explore
from vtune.refine.pbt import choose
from vtune.types import Array, IntArray, Key, PyTree
from vtune.validation import as_floats, check_between, check_factors, check_whole

QUARTERS = 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MFPBT:
    """PBT in sub-populations that evolve at different frequencies, which tames its greed.

        every frequencies[p] rounds, in sub-population p, sorted into quarters Q1 to Q4:
          Q4 takes weights and hyperparameters of Q1, rank for rank, and explores
          Q3, best first: where the best unused member of the other sub-populations is better,
             take its weights; and hyperparameters: its own where it evolves more slowly, those
             of p's best where it evolves faster, none where equally often. No exploration.

    A donor is used up when it is taken, for each receiving sub-population anew. All parents are
    those of before the round. Slots are dealt to the sub-populations in blocks, the first
    block to the first frequency. A quarter is a fourth rounded down, Q3 and Q4 counted from the
    worst. Exploration is PBT's. Structural hyperparameters do not change.

    Args:
      frequencies: rounds between two evolutions, one number a sub-population.
      resample_probability, perturbation_factors: as in `PBT`.

    The numbers are traced; how many frequencies and factors there are is static.

    Raises:
      TypeError, ValueError: on a number outside its range, or a cohort that cannot be dealt
        evenly to sub-populations of at least four.
    """

    frequencies: Any = (1, 10, 25, 50)
    resample_probability: Any = 0.25
    perturbation_factors: Any = (1.2, 0.8)

    def __post_init__(self) -> None:
        if not isinstance(self.frequencies, tuple | list) or len(self.frequencies) < 2:
            raise ValueError(
                f"MFPBT: frequencies={self.frequencies!r} must be two or more whole numbers, such "
                "as (1, 10, 25, 50); for one population write vt.PBT()"
            )
        for frequency in self.frequencies:
            check_whole("MFPBT", "a frequency", frequency, 1)
        check_between("MFPBT", "resample_probability", self.resample_probability, 0, 1)
        check_factors("MFPBT", "perturbation_factors", self.perturbation_factors)
        as_floats(self, "resample_probability", "perturbation_factors")

    @property
    def first_round(self) -> int:
        """Before which round it first acts."""
        return min(self.frequencies)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        groups = len(self.frequencies)
        if size % groups or size < QUARTERS * groups:
            raise ValueError(
                f"MFPBT with {groups} frequencies needs cohorts of {QUARTERS * groups} or a larger "
                f"multiple of {groups} members, quarters of {groups} sub-populations; this one "
                f"has {size}"
            )
        return (Rung(size, rounds),)

    def init(self, space: PyTree, size: int) -> PyTree:
        return ()

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        frequencies = jnp.stack([jnp.asarray(f, jnp.int32) for f in self.frequencies])
        parents, lenders, exploring = decide(round, frequencies, score)
        inherited = {name: values[lenders] for name, values in hparams.items()}
        place = _places_within(score, frequencies.shape[0])
        draws = draw(key, space, place, len(self.perturbation_factors))
        new = explore(draws, space, inherited, self.perturbation_factors, self.resample_probability)
        return Refinement(parents, choose(exploring, new, inherited)), memory


def decide(
    round: Any, frequencies: IntArray[Array, " groups"], score: Array
) -> tuple[Array, Array, Array]:
    """What every slot does in a round.

    Args:
      score: [pop], groups one after the other.

    Returns:
      [pop] whose weights, [pop] whose hyperparameters it takes, [pop] whether it then explores.
    """
    groups, size = frequencies.shape[0], score.shape[0]
    share = size // groups // QUARTERS
    own = jnp.arange(size, dtype=jnp.int32)
    value = jnp.where(jnp.isfinite(score), score, -jnp.inf)
    alive = jnp.isfinite(score)
    overall = rank(score)

    def evolve(state: tuple[Array, Array, Array], group: Array) -> Any:
        parents, lenders, exploring = state
        first = group * (size // groups)
        members = first + rank(lax.dynamic_slice_in_dim(score, first, size // groups))
        active = round % frequencies[group] == 0

        top, bottom = members[:share], members[-share:]
        copies = active & alive[top]
        parents = parents.at[bottom].set(jnp.where(copies, top, bottom))
        lenders = lenders.at[bottom].set(jnp.where(copies, top, bottom))
        exploring = exploring.at[bottom].set(copies)

        outside = overall // (size // groups) != group
        donors = overall[jnp.argsort(~outside, stable=True)]  # the others, best first
        third = members[-2 * share : -share]

        def migrate(used: Array, slot: Array) -> tuple[Array, tuple[Array, Array]]:
            donor = donors[used]
            taken = active & (value[slot] < value[donor])
            theirs, ours = frequencies[donor // (size // groups)], frequencies[group]
            lender = jnp.where(theirs > ours, donor, jnp.where(theirs < ours, members[0], slot))
            pair = jnp.where(taken, donor, slot), jnp.where(taken, lender, slot)
            return used + taken, pair

        _, (weights, numbers) = lax.scan(migrate, jnp.int32(0), third)
        return (parents.at[third].set(weights), lenders.at[third].set(numbers), exploring), None

    start = (own, own, jnp.zeros(size, bool))
    (parents, lenders, exploring), _ = lax.scan(evolve, start, jnp.arange(groups, dtype=jnp.int32))
    return parents, lenders, exploring


def _places_within(score: Array, groups: int) -> Array:
    """Every slot's rank in its sub-population, the sub-populations one after the other."""
    size = score.shape[0] // groups
    within = [ranks(rank(score[g * size : (g + 1) * size])) + g * size for g in range(groups)]
    return jnp.concatenate(within)
