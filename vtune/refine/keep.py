"""Keep: plain search, every member trains to the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vtune.refine.base import Refinement, Rung
from vtune.types import Array, Key, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Keep:
    """Every slot continues itself with its own hyperparameters."""

    idle: ClassVar[bool] = True

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        return (Rung(size, rounds),)

    def init(self, space: PyTree, size: int) -> PyTree:
        return ()

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        return Refinement(jnp.arange(score.shape[0], dtype=jnp.int32), hparams), memory
