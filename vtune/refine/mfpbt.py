"""Multiple-frequencies population-based training (Doulazmi et al. 2025, arXiv 2506.03225)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vtune.refine.base import Refinement, Rung, no_memory, rank
from vtune.refine.exploit import ranks
from vtune.refine.explore import choose, draw, explore
from vtune.types import Array, IntArray, Key, PyTree
from vtune.validation import as_floats, check_between, check_factors, check_whole

QUARTERS = 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MFPBT:
    """PBT in sub-populations that evolve at different frequencies, which makes it less greedy.

        every frequencies[p] rounds, rank sub-population p and cut it into quarters Q1 (best) to Q4:
          each slot of Q4 copies the slot of Q1 with the same rank in its quarter, and explores
          each slot of Q3, best first, meets the best member of the other sub-populations that no
          slot of p has taken in this round. If that donor is better, the slot takes its weights,
            with the donor's hyperparameters, if the donor's sub-population evolves more slowly,
            with those of p's best member, if it evolves faster,
            with those that the slot had, if it evolves equally often; it does not explore

    All slots decide on the members as they were before the round. The first block of slots is the
    sub-population of the first frequency, and so on. A quarter is a fourth, rounded down; Q3 and
    Q4 are counted from the worst. Slots explore as in PBT. Structural hyperparameters do not
    change.

    Args:
      frequencies: for every sub-population, the number of rounds between two evolutions.
      resample_probability, perturbation_factors: as in `PBT`.

    The numbers are traced; how many frequencies and factors there are is static.

    Raises:
      TypeError, ValueError: a number is outside its range, or a cohort cannot be cut into
        equal sub-populations of at least four members.
    """

    frequencies: Any = (1, 10, 25, 50)
    resample_probability: Any = 0.25
    perturbation_factors: Any = (1.2, 0.8)

    init = no_memory

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
        """The first round before which it acts."""
        return min(self.frequencies)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns one rung, see `Refiner.rungs`."""
        groups = len(self.frequencies)
        if size % groups or size < QUARTERS * groups:
            raise ValueError(
                f"MFPBT with {groups} frequencies needs cohorts of {QUARTERS * groups} or a larger "
                f"multiple of {groups} members, quarters of {groups} sub-populations; this one "
                f"has {size}"
            )
        return (Rung(size, rounds),)

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns parents and hyperparameters, see `Refiner.refine`."""
        frequencies = jnp.stack([jnp.asarray(f, jnp.int32) for f in self.frequencies])
        parents, sources, exploring = decide(round, frequencies, score)
        inherited = {name: values[sources] for name, values in hparams.items()}
        place = _ranks_by_group(score, frequencies.shape[0])
        draws = draw(key, space, place, len(self.perturbation_factors))
        new = explore(draws, space, inherited, self.perturbation_factors, self.resample_probability)
        return Refinement(parents, choose(exploring, new, inherited)), memory


def decide(
    round: Any, frequencies: IntArray[Array, " groups"], score: Array
) -> tuple[Array, Array, Array]:
    """Decides for every slot which members it continues.

    Args:
      round: number of the coming round.
      frequencies: of the sub-populations ("groups").
      score: [pop], the groups' slots one after the other; higher is better.

    Returns:
      parents [pop], the slot whose weights each slot takes; sources [pop], the slot whose
      hyperparameters it takes; exploring [pop], whether it explores.
    """
    groups, size = frequencies.shape[0], score.shape[0]
    quarter = size // groups // QUARTERS
    slots = jnp.arange(size, dtype=jnp.int32)
    value = jnp.where(jnp.isfinite(score), score, -jnp.inf)
    alive = jnp.isfinite(score)
    overall = rank(score)

    def evolve(state: tuple[Array, Array, Array], group: Array) -> Any:
        parents, sources, exploring = state
        first = group * (size // groups)
        members = first + rank(lax.dynamic_slice_in_dim(score, first, size // groups))
        active = round % frequencies[group] == 0

        q1, q4 = members[:quarter], members[-quarter:]
        copies = active & alive[q1]
        parents = parents.at[q4].set(jnp.where(copies, q1, q4))
        sources = sources.at[q4].set(jnp.where(copies, q1, q4))
        exploring = exploring.at[q4].set(copies)

        outside = overall // (size // groups) != group
        donors = overall[jnp.argsort(~outside, stable=True)]  # the others, best first
        q3 = members[-2 * quarter : -quarter]

        def migrate(used: Array, slot: Array) -> tuple[Array, tuple[Array, Array]]:
            donor = donors[used]
            taken = active & (value[slot] < value[donor])
            theirs, ours = frequencies[donor // (size // groups)], frequencies[group]
            source = jnp.where(theirs > ours, donor, jnp.where(theirs < ours, members[0], slot))
            pair = jnp.where(taken, donor, slot), jnp.where(taken, source, slot)
            return used + taken, pair

        _, (q3_parents, q3_sources) = lax.scan(migrate, jnp.int32(0), q3)
        parents, sources = parents.at[q3].set(q3_parents), sources.at[q3].set(q3_sources)
        return (parents, sources, exploring), None

    start = (slots, slots, jnp.zeros(size, bool))
    (parents, sources, exploring), _ = lax.scan(evolve, start, jnp.arange(groups, dtype=jnp.int32))
    return parents, sources, exploring


def _ranks_by_group(score: Array, groups: int) -> Array:
    """Returns every slot's rank in its group, plus the number of slots in earlier groups."""
    size = score.shape[0] // groups
    within = [ranks(rank(score[g * size : (g + 1) * size])) + g * size for g in range(groups)]
    return jnp.concatenate(within)
