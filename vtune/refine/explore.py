"""Explore: new hyperparameters for slots that took another's place."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vtune.space.traced import from_unit, is_stepped, neighbour, snap
from vtune.types import Array, IntArray, Key, PyTree, float_dtype


class Draws(NamedTuple):
    """Random numbers of one exploration, for every hyperparameter its own.

    Attributes:
      resample: [pop] by name, in [0, 1): redrawn where below the resample probability.
      factor: [pop] int32 by name: which factor is taken.
      fresh: [pop] by name: values redrawn from the space.
    """

    resample: PyTree
    factor: PyTree
    fresh: PyTree


def draw(key: Key, space: PyTree, place: IntArray[Array, " pop"], factors: int) -> Draws:
    """Draws by rank: `place` [pop] is every slot's rank. `factors`: how many there are."""
    names = sorted(space)
    u = jax.random.uniform(key, (3, len(names), place.shape[0]), float_dtype())[:, :, place]
    by_name = lambda part: dict(zip(names, part, strict=True))
    choice = jnp.minimum((u[1] * factors).astype(jnp.int32), factors - 1)
    fresh = {name: from_unit(space[name], u[2, i]) for i, name in enumerate(names)}
    return Draws(by_name(u[0]), by_name(choice), fresh)


def explore(
    draws: Draws, space: PyTree, hparams: PyTree, factors: Any, resample_probability: Any
) -> PyTree:
    """Every hyperparameter is redrawn from the space or perturbed, independently of the others.

    A `Float` is multiplied by one of `factors`, on a logarithmic scale and a linear one alike;
    `Int`, `Ordinal` and a `Float` with steps move to the neighbouring value, upwards for a
    factor above 1. All stay in their ranges.

    Args:
      hparams: by name [pop], those of the parents.
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
