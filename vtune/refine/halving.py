"""Successive halving (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vtune.refine.base import STATIC, Refinement, Rung, no_memory, rank
from vtune.types import Array, IntArray, Key, PyTree
from vtune.validation import check_size, check_whole


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Halving:
    """Successive halving: the best ceil(n / reduction_factor) members train on, repeatedly.

        after min_rounds, min_rounds * factor, min_rounds * factor^2, ... rounds:
          the best ceil(n / factor) keep their weights and train on; the others are dropped

    Sizes are those of scikit-learn's `HalvingGridSearchCV` with `min_resources=min_rounds`: at
    most 1 + floor(log_factor(n)) rungs, fewer where no further one fits into the rounds.
    Survivors continue their training; the last ones train to the end of the sweep. Each cohort
    ranks its members separately and keeps its best.

    Args:
      reduction_factor: the paper's eta, 2 or more. Static, since it sets the population's sizes.
      min_rounds: number of rounds before the first decision. Static.

    Raises:
      TypeError, ValueError: a number is outside its range, a cohort is smaller than the factor, or
        the rounds end before the first decision.

    Examples:
      >>> Halving(reduction_factor=3).rungs(size=20, rounds=9)
      (Rung(size=20, rounds=1), Rung(size=7, rounds=2), Rung(size=3, rounds=6))
    """

    reduction_factor: Any = field(default=3, metadata=STATIC)
    min_rounds: Any = field(default=1, metadata=STATIC)

    keeps_hparams: ClassVar[bool] = True
    init = no_memory

    def __post_init__(self) -> None:
        check_whole("Halving", "reduction_factor", self.reduction_factor, 2)
        check_whole("Halving", "min_rounds", self.min_rounds, 1)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns the shrinking sizes of a cohort, see `Refiner.rungs`."""
        factor = self.reduction_factor
        check_size("Halving", size, factor, f"its reduction_factor being {factor}")
        if rounds < self.min_rounds * factor:
            raise ValueError(
                f"Halving: {rounds} rounds end before a second rung, which needs "
                f"{self.min_rounds} * {factor}; give more epochs= or rounds=, or less min_rounds"
            )
        rungs: list[Rung] = []
        done = 0
        end, survivors = self.min_rounds, size
        while factor ** (len(rungs) + 1) <= size and end * factor <= rounds:
            rungs.append(Rung(survivors, end - done))
            done, end, survivors = end, end * factor, -(-survivors // factor)
        return (*rungs, Rung(survivors, rounds - done))

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns the best members with their hyperparameters, see `Refiner.refine`."""
        parents = best(score, -(-score.shape[0] // self.reduction_factor))
        return Refinement(parents, {k: v[parents] for k, v in hparams.items()}), memory


def best(score: Array, count: int) -> IntArray[Array, " next"]:
    """Returns the `count` best slots in ascending order."""
    return jnp.sort(rank(score)[:count]).astype(jnp.int32)
