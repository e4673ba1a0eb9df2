"""Explore: new hyperparameters for slots that copied a better member."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vtune.space.traced import from_unit, is_stepped, neighbour, snap
from vtune.types import Array, IntArray, Key, PyTree, float_dtype


class Draws(NamedTuple):
    """Random numbers of one exploration, independent for every hyperparameter.

    Attributes:
      resample: by name [pop], in [0, 1); below the resample probability the value is redrawn.
      factor: by name [pop] int32, the index of the factor to multiply by.
      fresh: by name [pop], values redrawn from the space.
    """

    resample: PyTree
    factor: PyTree
    fresh: PyTree


def draw(key: Key, space: PyTree, place: IntArray[Array, " pop"], factors: int) -> Draws:
    """Draws the random numbers of one exploration.

    Args:
      place: every slot's rank, since draws belong to ranks.
      factors: number of perturbation factors.
    """
    names = sorted(space)
    u = jax.random.uniform(key, (3, len(names), place.shape[0]), float_dtype())[:, :, place]
    by_name = lambda part: dict(zip(names, part, strict=True))
    choice = jnp.minimum((u[1] * factors).astype(jnp.int32), factors - 1)
    fresh = {name: from_unit(space[name], u[2, i]) for i, name in enumerate(names)}
    return Draws(by_name(u[0]), by_name(choice), fresh)


def explore(
    draws: Draws, space: PyTree, hparams: PyTree, factors: Any, resample_probability: Any
) -> PyTree:
    """Returns hyperparameters that are redrawn from the space or perturbed, each independently.

    A `Float` is multiplied by one of `factors`, whatever its scale. `Int`, `Ordinal` and a `Float`
    with steps move to the neighbouring value, upwards for a factor above 1. All stay in their
    ranges.

    Args:
      hparams: by name [pop], those of the parents.
      factors: numbers above 0.
      resample_probability: of redrawing a value instead of perturbing it.
    """
    new = {}
    for name, values in hparams.items():
        factor = jnp.stack([jnp.asarray(f, float_dtype()) for f in factors])[draws.factor[name]]
        if is_stepped(space[name]):
            moved = neighbour(space[name], values, factor > 1)
        else:
            moved = snap(space[name], values * factor.astype(values.dtype))
        redrawn = draws.resample[name] < resample_probability
        new[name] = jnp.where(redrawn, draws.fresh[name].astype(values.dtype), moved)
    return new


def choose(mask: Array, new: PyTree, old: PyTree) -> PyTree:
    """Returns the new hyperparameters where `mask` [pop] is True, else the old ones."""
    return {name: jnp.where(mask, new[name], values) for name, values in old.items()}
