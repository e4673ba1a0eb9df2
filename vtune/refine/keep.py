"""No refinement: every member trains to the end with the hyperparameters it began with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vtune.refine.base import Refinement, Rung, no_memory
from vtune.types import Array, Key, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Keep:
    """A refiner that changes nothing: every slot continues its member (plain search)."""

    idle: ClassVar[bool] = True
    init = no_memory

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns one rung, see `Refiner.rungs`."""
        return (Rung(size, rounds),)

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns the population unchanged, see `Refiner.refine`."""
        return Refinement(jnp.arange(score.shape[0], dtype=jnp.int32), hparams), memory
