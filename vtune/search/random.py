"""Random search: independent draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtune.keywords import answering
from vtune.search.base import Cohort, check_count, deal
from vtune.space.space import Space


@answering
@dataclass(frozen=True)
class Random:
    """Random search: `n` independent draws (Bergstra and Bengio 2012).

    Args:
      n: number of members; None takes the refiner's (see `vt.Hyperband`), or else 64.
      skip: draws to leave out first; `Random(m, skip=n)` adds m members to `Random(n)`.

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
            skipped = np.random.PCG64([seed, cohort]).advance(first * dims)
            return np.random.Generator(skipped).random((count, dims))

        return deal(self, space, points)
