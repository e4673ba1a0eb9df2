"""What a refiner is. It decides with indices; the engine moves the members."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from vtune.types import Array, FloatArray, IntArray, Key, PyTree

STATIC: Any = {"static": True}  # metadata of a dataclass field that is part of the program


class Refinement(NamedTuple):
    """A refiner's decision.

    Attributes:
      parents: [next] int32, for every slot of the next population the slot whose state it
        continues; where the population shrinks, each slot at most once.
      hparams: traced hyperparameters of the next population, by name [next].
    """

    parents: IntArray[Array, " next"]
    hparams: PyTree


class Rung(NamedTuple):
    """A number of consecutive rounds with one population size. Plain Python numbers, static."""

    size: int
    rounds: int


@runtime_checkable
class Refiner(Protocol):
    """Decides between rounds which slot continues which member, with which hyperparameters.

    A refiner is a frozen dataclass registered as a pytree: its numbers are traced leaves, its
    sizes and choices static fields. It is called before every round but the first. One that
    shrinks the population is called only where the rung changes.

    Optional attributes:
      size: number of members of a cohort, for a refiner that sets it.
      max_rounds: number of rounds of the sweep where `rounds=` is left out.
      first_round: the first round before which it acts; a sweep that ends sooner gets a warning.
      idle: True if it never changes anything and need not be called.
      keeps_hparams: True if members keep the hyperparameters that they were drawn with.
      objectives: pairs of a recorded metric's name, or of a function of a member's metrics by name,
        and "max" or "min". `refine` then gets their scores [pop, objectives] as `score`.
    """

    def rungs(self, size: int, rounds: int) -> tuple[Rung, ...]:
        """Returns the population sizes of a cohort over the rounds.

        The first rung has the cohort's size; later ones are never larger.

        Args:
          size: number of members of the cohort. rounds: of the whole sweep.

        Raises:
          ValueError: the refiner cannot work with a cohort of this size or so many rounds.
        """
        ...

    def init(self, space: PyTree, size: int) -> PyTree:
        """Returns the refiner's memory at the start, a pytree of arrays.

        The memory belongs to the population: it is carried on, and not gathered with the members.
        """
        ...

    def refine(
        self, key: Key, round: Any, space: PyTree, hparams: PyTree, score: Array, memory: PyTree
    ) -> tuple[Refinement, PyTree]:
        """Returns the decision before a round, and the memory after it.

        Hyperparameters outside the space are brought back into it afterwards.

        Args:
          key: of this round and cohort.
          round: number of the coming round, counted from 0.
          space: the cohort's traced distributions by name, see `vtune.space.traced`.
          hparams: by name [pop].
          score: [pop], higher is better; -inf where a member diverged or has no score. With
            `objectives`: [pop, objectives].
          memory: as `init` or the last call returned it.
        """
        ...


def no_memory(refiner: Any, space: PyTree, size: int) -> PyTree:
    """The `init` of a refiner that remembers nothing."""
    return ()


def rank(score: FloatArray[Array, " pop"]) -> IntArray[Array, " pop"]:
    """Returns the slots (int32) from best to worst.

    Ties keep their order; scores that are not finite come last.
    """
    order = jnp.argsort(-jnp.where(jnp.isfinite(score), score, -jnp.inf), stable=True)
    return order.astype(jnp.int32)


def check_is_refiner(refiner: Any) -> None:
    """Raises TypeError where this is no refiner, or one that JAX does not know as a pytree."""
    for method in ("refine", "rungs", "init"):
        if isinstance(refiner, type) or not callable(getattr(refiner, method, None)):
            raise TypeError(
                f"refiner must have a {method} method, got {refiner!r}; write vt.PBT() or "
                "vt.Halving()"
            )
    if any(leaf is refiner for leaf in jax.tree.leaves(refiner)):
        raise TypeError(
            f"refiner={refiner!r} is not registered with JAX; write @jax.tree_util."
            "register_dataclass and @dataclass(frozen=True) above its class"
        )
