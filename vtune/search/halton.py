"""Quasi-random search: a scrambled Halton sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtune.search.base import Cohort, _check_count, _deal
from vtune.space.space import Space


@dataclass(frozen=True)
class Halton:
    """`n` points of a scrambled Halton sequence: random search without its gaps.

    The default, as the Deep Learning Tuning Playbook advises (Godbole et al. 2023; scrambling
    after Owen 2017). Each cohort has a sequence of its own, since every C-th point of one
    sequence would fill only a part of the range.

    Args:
      n: members; left out, as many as the refiner sets (Hyperband does), else 64.
      skip: points to leave out first; `Halton(m, skip=n)` adds to `Halton(n)`.
    """

    n: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        _check_count("Halton", self.n, self.skip)

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        def unit(cohort: int, first: int, count: int, dims: int) -> np.ndarray:
            from scipy.stats import qmc  # scipy comes with jax; slow to import

            if dims == 0:
                return np.zeros((count, 0))
            sequence = qmc.Halton(dims, scramble=True, rng=np.random.default_rng([seed, cohort]))
            if first:
                sequence.fast_forward(first)
            return sequence.random(count)

        return _deal("Halton", space, self.n, self.skip, unit)
