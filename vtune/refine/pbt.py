"""Population-based training (Jaderberg et al. 2017), with Ray Tune's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from vtune.refine.base import Refinement, Rung, rank
from vtune.refine.exploit import KINDS, TRUNCATION, exploit, ranks
from vtune.refine.explore import draw, explore
from vtune.types import Array, Key, PyTree, float_dtype
from vtune.validation import as_floats, check_between, check_factors, check_size, check_whole

STATIC: Any = {"static": True}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PBT:
    """The bad take the weights and hyperparameters of the good, and perturb them.

        every perturbation_interval rounds, from burn_in_period on:
          exploit: a bad slot takes all that a good one carries, optimizer state included
          explore: each of its hyperparameters is redrawn with resample_probability, else
                   multiplied by one of perturbation_factors (stepped and whole ones move to a
                   neighbouring value), on its own

    Structural hyperparameters do not change: a slot takes over members of its own cohort only.

    Args:
      perturbation_interval: rounds between two perturbations.
      burn_in_period: rounds before the first one.
      quantile_fraction: how many count as bad, and as good; ceil of it, at most half.
      resample_probability: of redrawing a hyperparameter from the whole space.
      perturbation_factors: taken with equal probability.
      exploit: "truncation" (the bottom quantile each take a random one of the top quantile) or
        "binary_tournament" (each meets a random other, and takes it where it is better).
      custom_explore: (key, hparams) -> hparams of ONE slot that took another's place, after the
        perturbation; a pure function, jittable. What leaves the space is brought back.

    All but the last two are traced: other numbers compile nothing.

    Raises:
      TypeError, ValueError: on a number outside its range, or a cohort of one member.

    Example:
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
        """Before which round it first acts."""
        return max(self.burn_in_period, self.perturbation_interval)

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        check_size("PBT", size, 2, "one to take another's place")
        return (Rung(size, rounds),)

    def init(self, space: PyTree, size: int) -> PyTree:
        return ()

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
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
    """What a user's exploration returned, if it has every hyperparameter."""
    shapes = {k: jnp.shape(v) for k, v in new.items()} if isinstance(new, dict) else type(new)
    if shapes != {name: values.shape for name, values in before.items()}:
        raise ValueError(
            f"PBT: custom_explore returned {shapes} for all slots; of one slot return a dict with "
            f"{sorted(before)}, a number each"
        )
    return new


def check_schedule(who: str, refiner: Any) -> None:
    """What PBT and its relatives share: when they act, and on whom."""
    check_whole(who, "perturbation_interval", refiner.perturbation_interval, 1)
    check_whole(who, "burn_in_period", refiner.burn_in_period, 0)
    check_between(who, "quantile_fraction", refiner.quantile_fraction, 0, 0.5, open="low")
    if not isinstance(refiner.exploit, str) or refiner.exploit not in KINDS:
        raise ValueError(f"{who}: exploit={refiner.exploit!r} must be one of {list(KINDS)}")


def is_due(refiner: Any, round: Any) -> Array:
    """Whether `round` rounds after the start are a time to act: first when the burn-in and one
    interval are over, then every interval, as Ray Tune does."""
    first = jnp.maximum(refiner.burn_in_period, refiner.perturbation_interval)
    return (round >= first) & ((round - first) % refiner.perturbation_interval == 0)


def choose(where: Array, new: PyTree, old: PyTree) -> PyTree:
    """By slot the new hyperparameters or the old ones."""
    return {name: jnp.where(where, new[name], values) for name, values in old.items()}
