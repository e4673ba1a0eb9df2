"""Hyperband (Li et al. 2018): several runs of successive halving at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vtune.refine.base import STATIC, Refinement, Rung, no_memory
from vtune.refine.halving import best
from vtune.types import Array, Key, PyTree
from vtune.validation import check_whole


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Hyperband:
    """Hyperband: brackets of successive halving, from the greediest to plain search.

        for s = s_max, ..., 0, with s_max = floor(log_factor(max_rounds)):
          bracket s starts with ceil((s_max + 1) / (s + 1) * factor^s) settings; after
          max_rounds / factor^k rounds, k = s, ..., 1, the best floor(n / factor) train on

    All brackets are one population. They start together, and a bracket decides only at rounds at
    which the greedier ones decide too, so the population shrinks only a few times. Hyperband sets
    the number of settings: write `search=vt.Halton()` or `vt.Random()` without a number. Each
    cohort runs all brackets. A round is `epochs / max_rounds` epochs long.

    Args:
      reduction_factor: the paper's eta, 2 or more. Static, since it sets the population's sizes.
      max_rounds: the paper's R, the number of rounds of the longest training and of the sweep.
        Static.

    Raises:
      TypeError, ValueError: a number is outside its range, a cohort has another size, or `rounds=`
        is another number.

    Examples:
      >>> Hyperband(max_rounds=81).brackets
      ((81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,))
    """

    reduction_factor: Any = field(default=3, metadata=STATIC)
    max_rounds: Any = field(metadata=STATIC)

    keeps_hparams: ClassVar[bool] = True
    init = no_memory

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
        """The sizes of every bracket, rung by rung."""
        most, factor = self._most, self.reduction_factor
        starts = [-(-(most + 1) * factor**s // (s + 1)) for s in range(most, -1, -1)]
        return tuple(
            tuple(start // factor**i for i in range(most - b + 1)) for b, start in enumerate(starts)
        )

    @property
    def size(self) -> int:
        """The number of settings of all brackets together, which a search draws for a cohort."""
        return sum(bracket[0] for bracket in self.brackets)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns the sizes of all brackets together, see `Refiner.rungs`."""
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

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns the best members of every bracket, see `Refiner.refine`."""
        rung = next(i for i in range(self._most) if sum(self._sizes(i)) == score.shape[0])
        parents, first = [], 0
        for now, then in zip(self._sizes(rung), self._sizes(rung + 1), strict=True):
            parents.append(first + best(score[first : first + now], then))
            first += now
        chosen = jnp.concatenate(parents).astype(jnp.int32)
        return Refinement(chosen, {k: v[chosen] for k, v in hparams.items()}), memory

    @property
    def _most(self) -> int:
        """The paper's s_max, counted: in floating point log(243, 3) is below 5."""
        most = 0
        while self.reduction_factor ** (most + 1) <= self.max_rounds:
            most += 1
        return most

    def _sizes(self, rung: int) -> tuple[int, ...]:
        """Returns all brackets' sizes in a rung of all; bracket b shrinks from rung b."""
        return tuple(bracket[max(0, rung - b)] for b, bracket in enumerate(self.brackets))
