"""How steps, epochs and rounds follow each other, and which rows a step takes, in the program."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from vtune.data.dataset import Data
from vtune.engine.plan import CohortPlan, StepChunks
from vtune.types import Array


def quotient(a: Array, b: Any) -> Array:
    """Of whole numbers, none below 0, which takes one operation instead of ten for the sign."""
    return lax.div(a, jnp.asarray(b, a.dtype))


def remainder(a: Array, b: Any) -> Array:
    """Likewise."""
    return lax.rem(a, jnp.asarray(b, a.dtype))


class Stepping(NamedTuple):
    """The same for all groups of a lane.

    Attributes:
      cohort: one of them. rounds: of the whole run.
    """

    cohort: CohortPlan
    rounds: int
    data: Data | None

    @property
    def open(self) -> bool:
        """Whether the number of steps is traced."""
        return self.data is not None and self.data.traced_sizes is not None

    @property
    def stride(self) -> StepChunks:
        """How the steps of a round are taken, at most."""
        return self.cohort.stride(self.rounds, 0 if self.data is None else self.data.row_bytes)

    @property
    def steps_per_epoch(self) -> Any:
        """A number, traced where it is open; None without data."""
        if self.data is None or self.cohort.batch_size is None:
            return self.cohort.steps_per_epoch
        return self.data.steps_per_epoch(self.cohort.batch_size)

    def bounds(self, number: Array) -> tuple[Array, Array]:
        """The steps at which a round begins and ends."""
        if self.open:
            epochs = self.cohort.steps // (self.cohort.steps_per_epoch or 1)
            at = lambda round: quotient(round * epochs, self.rounds) * self.steps_per_epoch
            return at(number), at(number + 1)
        bounds = jnp.asarray(self.cohort.boundaries(self.rounds))
        return bounds[number], bounds[number + 1]

    def epoch_rows(self, seed: Any, offset: Array) -> Any:
        """The rows [steps, batch], of every fold if there are, of the epoch of step `offset`."""
        a_epoch = self.steps_per_epoch
        if self.data is None or self.cohort.batch_size is None or a_epoch is None:
            return None
        return self.data.rows(seed, quotient(offset, a_epoch), self.cohort.batch_size)

    def rows_of(self, rows: Any, offset: Array, length: int) -> Any:
        """The rows [length, batch] of the steps from `offset` on, out of those of its epoch."""
        if rows is None:
            return None
        place = remainder(offset, self.steps_per_epoch) + jnp.arange(length)
        return jnp.take(rows, place, axis=rows.ndim - 2, mode="clip")


def trains(id: Array, fold: Array, sizes: Array) -> Array:
    """Whether a slot of padded folds has something to train: neither its fold is empty nor its
    place in the population."""
    return (id >= 0) & (sizes[fold] > 0)
