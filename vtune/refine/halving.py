"""Successive halving (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from vtune.refine.base import Refinement, Rung, rank
from vtune.types import Array, IntArray, Key, PyTree
from vtune.validation import check_size, check_whole

STATIC: Any = {"static": True}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Halving:
    """All train a little; the best ceil(n / reduction_factor) go on, again and again.

        after min_rounds, min_rounds * factor, min_rounds * factor^2, ... rounds:
          the best ceil(n / factor) keep their weights and train on; the others are dropped

    Sizes are those of scikit-learn's `HalvingGridSearchCV` with `min_resources=min_rounds`: at
    most 1 + floor(log_factor(n)) rungs, fewer where no further one fits into the rounds.
    Survivors are not trained anew, and the last ones train to the end of the run.
    With several cohorts each ranks its own members and keeps its best.

    Args:
      reduction_factor: 2 or more, the paper's eta.
      min_rounds: rounds before the first decision.

    Both are part of the program, since they set the population's sizes.

    Raises:
      TypeError, ValueError: on a number outside its range, on a cohort smaller than the factor,
        or where the rounds end before the first decision.

    Example:
      >>> Halving(reduction_factor=3).rungs(size=20, rounds=9)
      (Rung(size=20, rounds=1), Rung(size=7, rounds=2), Rung(size=3, rounds=6))
    """

    reduction_factor: Any = field(default=3, metadata=STATIC)
    min_rounds: Any = field(default=1, metadata=STATIC)

    def __post_init__(self) -> None:
        check_whole("Halving", "reduction_factor", self.reduction_factor, 2)
        check_whole("Halving", "min_rounds", self.min_rounds, 1)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        factor = self.reduction_factor
        check_size("Halving", size, factor, f"its reduction_factor being {factor}")
        if rounds < self.min_rounds * factor:
            raise ValueError(
                f"Halving: {rounds} rounds end before a second rung, which needs "
                f"{self.min_rounds} * {factor}; give more epochs= or rounds=, or less min_rounds"
            )
        rungs: list[Rung] = []
        done = 0
        ends, left = self.min_rounds, size
        while factor ** (len(rungs) + 1) <= size and ends * factor <= rounds:
            rungs.append(Rung(left, ends - done))
            done, ends, left = ends, ends * factor, -(-left // factor)
        return (*rungs, Rung(left, rounds - done))

    def init(self, space: PyTree, size: int) -> PyTree:
        return ()

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        parents = best(score, -(-score.shape[0] // self.reduction_factor))
        return Refinement(parents, {k: v[parents] for k, v in hparams.items()}), memory


def best(score: Array, count: int) -> IntArray[Array, " next"]:
    """The `count` best slots, in ascending order."""
    return jnp.sort(rank(score)[:count]).astype(jnp.int32)
