"""Quasi-random search: a scrambled Halton sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtune.keywords import answering
from vtune.search.base import Cohort, check_count, deal
from vtune.space.space import Space


@answering
@dataclass(frozen=True)
class Halton:
    """Quasi-random search: `n` points of a scrambled Halton sequence, which leaves no gaps.

    The default search, as the Deep Learning Tuning Playbook advises (Godbole et al. 2023;
    scrambled as in Owen 2017). Each cohort has its own sequence, since every C-th point of one
    sequence would fill only a part of the range.

    Args:
      n: number of members; None takes the refiner's (see `vt.Hyperband`), or else 64.
      skip: points to leave out first; `Halton(m, skip=n)` adds m members to `Halton(n)`.

    Raises:
      TypeError, ValueError: `n` or `skip` is not a number of members.
    """

    n: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        check_count(self)

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        """Returns the drawn members, see `Search.draw`."""

        def points(cohort: int, first: int, count: int, dims: int) -> np.ndarray:
            from scipy.stats import qmc  # scipy comes with jax; slow to import

            if dims == 0:
                return np.zeros((count, 0))
            sequence = qmc.Halton(dims, scramble=True, rng=np.random.default_rng([seed, cohort]))
            if first:
                sequence.fast_forward(first)
            return sequence.random(count)

        return deal(self, space, points)
