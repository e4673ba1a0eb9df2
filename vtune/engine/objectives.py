"""Scores of members in several metrics, for a refiner that asks for them (`Refiner.objectives`).

All are signed so that higher is better, and -inf where a member has none, as its one score is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vtune.engine.population import Population
from vtune.engine.recording import SPLITS
from vtune.types import float_dtype

Objectives = tuple[tuple[str | Callable[[Any], Any], str], ...]


def refiner_objectives(refiner: Any) -> Objectives:
    """Returns what a refiner wants members to be compared by; () for the sweep's own metric."""
    return tuple(getattr(refiner, "objectives", None) or ())


def not_yet_compared(population: Population, refiner: Any) -> Population:
    """Returns the population before the first round, with room for the refiner's scores."""
    objectives = refiner_objectives(refiner)
    if not objectives:
        return population
    shape = (population.id.shape[0], len(objectives))
    return population._replace(objectives=jnp.full(shape, -jnp.inf, float_dtype()))


def compared(
    objectives: Objectives, recorded: Mapping[str, Any], healthy: Any, xp: Any = jnp
) -> Any:
    """Returns the scores [pop, objectives]; None where none are asked for.

    Args:
      recorded: the metrics of a round by name, [pop, ...], before members that stopped are hidden.
      healthy: [pop] whether a member has not diverged.
      xp: NumPy on the host, where JAX would compile.
    """
    if not objectives:
        return None
    means = {name: value for name, value in recorded.items() if not name.endswith(SPLITS)}

    def score(metric: Any, mode: str) -> Any:
        value = means[metric] if isinstance(metric, str) else jax.vmap(metric)(means)
        signed = xp.asarray(value, float_dtype()) * (1 if mode == "max" else -1)
        return xp.where(healthy & xp.isfinite(signed), signed, -xp.inf)

    return xp.stack([score(*objective) for objective in objectives], axis=1)
