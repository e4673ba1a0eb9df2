"""Hyperband (Li et al. 2018): several runs of successive halving, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from vtune.refine.base import Refinement, Rung
from vtune.refine.halving import best
from vtune.types import Array, Key, PyTree
from vtune.validation import check_whole

STATIC: Any = {"static": True}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Hyperband:
    """Brackets of successive halving, from the greediest to plain search.

        for s = s_max, ..., 0, with s_max = floor(log_factor(max_rounds)):
          bracket s starts with ceil((s_max + 1) / (s + 1) * factor^s) settings; after
          max_rounds / factor^k rounds, k = s, ..., 1, the best 1 / factor of them go on (floor)

    All brackets are one population: they start together, and since bracket s decides at rounds
    where the brackets before it decide too, the whole shrinks a few times only. Hyperband sets
    the number of settings itself: `search=vt.Halton()`, or `vt.Random()`. With several cohorts
    each cohort runs all brackets. A round is `epochs / max_rounds` epochs long.

    Args:
      reduction_factor: 2 or more, the paper's eta.
      max_rounds: rounds that the longest training gets, the paper's R; the sweep's rounds.

    Both are part of the program, since they set the population's sizes.

    Raises:
      TypeError, ValueError: on a number outside its range, a cohort of another size, or other
        `rounds=`.

    Example:
      >>> Hyperband(max_rounds=81).brackets
      ((81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,))
    """

    reduction_factor: Any = field(default=3, metadata=STATIC)
    max_rounds: Any = field(metadata=STATIC)

    def __post_init__(self) -> None:
        check_whole("Hyperband", "reduction_factor", self.reduction_factor, 2)
        check_whole("Hyperband", "max_rounds", self.max_rounds, 1)
        if self.max_rounds < self.reduction_factor:
            raise ValueError(
                f"Hyperband: max_rounds={self.max_rounds} is below the reduction_factor "
                f"{self.reduction_factor}, so nothing would ever be dropped; give more rounds"
            )

    @property
    def brackets(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of every bracket, rung by rung."""
        most, factor = self._most, self.reduction_factor
        starts = [-(-(most + 1) * factor**s // (s + 1)) for s in range(most, -1, -1)]
        return tuple(
            tuple(start // factor**i for i in range(most - b + 1)) for b, start in enumerate(starts)
        )

    @property
    def size(self) -> int:
        """Settings of all brackets together: what a search draws for a cohort."""
        return sum(bracket[0] for bracket in self.brackets)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        if size != self.size:
            raise ValueError(
                f"Hyperband(max_rounds={self.max_rounds}) trains {self.size} settings a cohort, "
                f"this one has {size}; write search=vt.Halton(), which then draws as many as needed"
            )
        if rounds != self.max_rounds:
            raise ValueError(
                f"Hyperband(max_rounds={self.max_rounds}) in a sweep of {rounds} rounds; give "
                f"rounds={self.max_rounds} or Hyperband(max_rounds={rounds})"
            )
        factor, most = self.reduction_factor, self._most
        ends = [rounds // factor**k for k in range(most, -1, -1)]
        starts = [0, *ends[:-1]]
        return tuple(
            Rung(sum(self._sizes(i)), end - start)
            for i, (start, end) in enumerate(zip(starts, ends, strict=True))
        )

    def init(self, space: PyTree, size: int) -> PyTree:
        return ()

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        rung = next(i for i in range(self._most) if sum(self._sizes(i)) == score.shape[0])
        parents, first = [], 0
        for now, then in zip(self._sizes(rung), self._sizes(rung + 1), strict=True):
            parents.append(first + best(score[first : first + now], then))
            first += now
        chosen = jnp.concatenate(parents).astype(jnp.int32)
        return Refinement(chosen, {k: v[chosen] for k, v in hparams.items()}), memory

    @property
    def _most(self) -> int:
        """The paper's s_max; counted, since a floating-point log(243, 3) is below 5."""
        most = 0
        while self.reduction_factor ** (most + 1) <= self.max_rounds:
            most += 1
        return most

    def _sizes(self, rung: int) -> tuple[int, ...]:
        """Sizes of the brackets in a rung of the whole; bracket b starts to shrink at rung b."""
        return tuple(bracket[max(0, rung - b)] for b, bracket in enumerate(self.brackets))
