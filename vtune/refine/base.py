"""What a refiner is. It decides with indices; `population.gather` moves."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp

from vtune.types import Array, FloatArray, IntArray, Key, PyTree


class Refinement(NamedTuple):
    """A decision, not a move.

    Attributes:
      parents: [next] int32, for every slot of the next population the slot it continues; where
        the population shrinks each slot at most once.
      hparams: traced hyperparameters of the next population, leaves [next].
    """

    parents: IntArray[Array, " next"]
    hparams: PyTree


class Rung(NamedTuple):
    """Consecutive rounds with one population size. Static, plain Python."""

    size: int
    rounds: int


@runtime_checkable
class Refiner(Protocol):
    """Decides between rounds. A frozen dataclass registered as a pytree: numbers are traced
    leaves, sizes and choices static fields. Asked before every round but the first; one that
    shrinks the population is asked only where the rung changes.

    Four attributes may be there beside the functions: `size`, the members of a cohort, for one
    that sets the number of settings itself; `max_rounds`, the sweep's rounds where `rounds=` is
    left out; `first_round`, before which it first acts: a sweep that ends sooner is warned of;
    `idle`, true for one that never moves nor changes anything and need not be asked."""

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """The sizes of a cohort over the rounds, never growing, the first the cohort's own.

        Raises:
          ValueError: the refiner cannot work with such a cohort.
        """
        ...

    def init(self, space: PyTree, size: int) -> PyTree:
        """What the refiner remembers at the start; belongs to the population, is not gathered."""
        ...

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Decides.

        Args:
          key: of this round and cohort. round: the coming round's number.
          space: the cohort's traced distributions by name. hparams: leaves [pop].
          score: [pop], higher is better, -inf where a member diverged or has no score.
          memory: as `init` or the last call left it.

        Whatever leaves the space is brought back into it afterwards.
        """
        ...


def rank(score: FloatArray[Array, " pop"]) -> IntArray[Array, " pop"]:
    """int32 slots from best to worst; ties keep their order, whatever is not finite comes last."""
    order = jnp.argsort(-jnp.where(jnp.isfinite(score), score, -jnp.inf), stable=True)
    return order.astype(jnp.int32)
