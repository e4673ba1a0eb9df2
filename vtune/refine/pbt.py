"""Population-based training (Jaderberg et al. 2017), with Ray Tune's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from vtune.refine.base import STATIC, Refinement, Rung, no_memory, rank
from vtune.refine.exploit import TRUNCATION, check_schedule, exploit, is_due, ranks
from vtune.refine.explore import choose, draw, explore
from vtune.types import Array, Key, PyTree, float_dtype
from vtune.validation import as_floats, check_between, check_factors, check_size


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PBT:
    """Population-based training: bad members copy good ones and perturb their hyperparameters.

        every perturbation_interval rounds, from burn_in_period on:
          exploit: a bad slot copies all that a good one carries, optimizer state included
          explore: each of its hyperparameters is, independently, redrawn with
                   resample_probability, else multiplied by one of perturbation_factors
                   (Int, Ordinal and a Float with steps move to a neighbouring value)

    Structural hyperparameters do not change: a slot copies members of its cohort only.

    Args:
      perturbation_interval: number of rounds between two perturbations.
      burn_in_period: number of rounds before the first one.
      quantile_fraction: part of a cohort that counts as bad, and as good; rounded up, at most
        half.
      resample_probability: of redrawing a hyperparameter from the whole space.
      perturbation_factors: numbers above 0, taken with equal probability.
      exploit: "truncation" (each of the bottom quantile copies a random one of the top quantile)
        or "binary_tournament" (each slot is compared with a random other, and copies it if it is
        better).
      custom_explore: (key, hparams) -> hparams of ONE slot that copied another, after the
        perturbation. A pure, jittable function. Values outside the space are brought back.

    All but the last two are traced: other numbers compile nothing.

    Raises:
      TypeError, ValueError: a number is outside its range, or a cohort has one member.

    Examples:
      >>> PBT(perturbation_interval=2, perturbation_factors=(2.0, 0.5)).exploit
      'truncation'
    """

    perturbation_interval: Any = 1
    burn_in_period: Any = 0
    quantile_fraction: Any = 0.25
    resample_probability: Any = 0.25
    perturbation_factors: Any = (1.2, 0.8)
    exploit: Any = field(default=TRUNCATION, metadata=STATIC)
    custom_explore: Any = field(default=None, metadata=STATIC)

    init = no_memory

    def __post_init__(self) -> None:
        check_schedule("PBT", self)
        check_between("PBT", "resample_probability", self.resample_probability, 0, 1)
        check_factors("PBT", "perturbation_factors", self.perturbation_factors)
        if self.custom_explore is not None and not callable(self.custom_explore):
            raise TypeError(
                f"PBT: custom_explore={self.custom_explore!r} is not a function of (key, hparams)"
            )
        as_floats(self, "quantile_fraction", "resample_probability", "perturbation_factors")

    @property
    def first_round(self) -> int:
        """The first round before which it acts."""
        return max(self.burn_in_period, self.perturbation_interval)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns one rung, see `Refiner.rungs`."""
        check_size("PBT", size, 2, "one to take another's place")
        return (Rung(size, rounds),)

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns parents and perturbed hyperparameters, see `Refiner.refine`."""
        k_exploit, k_explore, k_custom = jax.random.split(key, 3)
        slots = jnp.arange(score.shape[0], dtype=jnp.int32)
        u = jax.random.uniform(k_exploit, score.shape, float_dtype())
        parents = exploit(self.exploit, u, score, self.quantile_fraction)
        parents = jnp.where(is_due(self, round), parents, slots)
        place = ranks(rank(score))
        inherited = {name: values[parents] for name, values in hparams.items()}
        draws = draw(k_explore, space, place, len(self.perturbation_factors))
        new = explore(draws, space, inherited, self.perturbation_factors, self.resample_probability)
        if self.custom_explore is not None:
            keys = jax.random.split(k_custom, score.shape[0])[place]
            new = _checked(jax.vmap(self.custom_explore)(keys, new), new)
        return Refinement(parents, choose(parents != slots, new, inherited)), memory


def _checked(new: Any, before: PyTree) -> PyTree:
    """Returns what `custom_explore` returned, if it has every hyperparameter."""
    shapes = {k: jnp.shape(v) for k, v in new.items()} if isinstance(new, dict) else type(new)
    if shapes != {name: values.shape for name, values in before.items()}:
        raise ValueError(
            f"PBT: custom_explore returned {shapes} for all slots; of one slot return a dict with "
            f"{sorted(before)}, a number each"
        )
    return new
