"""Random search: independent draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtune.search.base import Cohort, _check_count, _deal
from vtune.space.space import Space


@dataclass(frozen=True)
class Random:
    """`n` independent draws (Bergstra and Bengio 2012).

    Args:
      n: members; left out, as many as the refiner sets (Hyperband does), else 64.
      skip: draws to leave out first; `Random(m, skip=n)` adds to `Random(n)`.
    """

    n: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        _check_count("Random", self.n, self.skip)

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        def unit(cohort: int, first: int, count: int, dims: int) -> np.ndarray:
            rng = np.random.default_rng([seed, cohort])
            return rng.random((first + count, dims))[first:]

        return _deal("Random", space, self.n, self.skip, unit)
