"""The arithmetic of steps, epochs and rounds, and the training rows that each step takes.

A round ends with a scoring, an epoch begins with a new shuffle of the rows. Rows are gathered for a
chunk of steps at a time; a chunk never crosses the end of an epoch or of a round.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.data.dataset import Data
from vtune.engine.fold_steps import FoldLengths, fold_lengths
from vtune.engine.plan import CohortPlan
from vtune.types import Array, PyTree

GATHER_BYTES = 16 * 2**20  # the rows of one chunk take about this much memory


def quotient(a: Array, b: Any) -> Array:
    """Returns a // b of non-negative integers as one operation; `//` emits ten to handle signs."""
    return lax.div(a, jnp.asarray(b, a.dtype))


def remainder(a: Array, b: Any) -> Array:
    """Returns a % b of non-negative integers as one operation."""
    return lax.rem(a, jnp.asarray(b, a.dtype))


def round_boundaries(cohort: CohortPlan, rounds: int) -> np.ndarray:
    """Returns the steps at which rounds begin and end, [rounds + 1] int32, on the host; [rounds +
    1, folds] where folds differ.

    Rounds of an earlier run keep their lengths; the others are as even as can be.
    """
    by_fold = cohort.by_fold
    steps = np.array(cohort.steps if by_fold is None else [f.steps for f in by_fold], np.int64)
    past = np.array([np.zeros_like(steps), *cohort.past], np.int64)
    to_come = rounds - len(cohort.past)
    number = np.arange(1, to_come + 1, dtype=np.int64).reshape(-1, *[1] * steps.ndim)
    done = number * (steps - past[-1]) // to_come
    return np.concatenate([past, past[-1] + done]).astype(np.int32)


class StepChunks(NamedTuple):
    """How the steps of a round are cut into chunks.

    Attributes:
      period: steps of an epoch, or of a round where that is shorter.
      chunk: steps whose rows are gathered together.
      even: whether all chunks are full. Every loop then has a static length, which a GPU runs
        without asking the host.
    """

    period: int
    chunk: int
    even: bool


def step_chunks(cohort: CohortPlan, rounds: int, row_bytes: int) -> StepChunks:
    """Returns how a cohort's steps are cut into chunks.

    Args:
      row_bytes: bytes of one row of the data, 0 without data.
    """
    period, most = cohort.steps // rounds, cohort.steps // rounds
    regular = cohort.by_fold is None and np.ptp(np.diff(round_boundaries(cohort, rounds))) == 0
    if cohort.steps_per_epoch is not None and cohort.batch_size is not None:
        short, long = sorted((period, cohort.steps_per_epoch))
        regular = regular and long % short == 0
        period = short if regular else cohort.steps_per_epoch
        most = max(1, GATHER_BYTES // max(1, row_bytes * cohort.batch_size))
    if not regular:
        return StepChunks(period, min(most, max(period, 1)), False)
    pieces = -(-period // most)
    even = [n for n in range(pieces, 8 * pieces + 1) if period % n == 0]
    if even:
        return StepChunks(period, period // even[0], True)
    return StepChunks(period, -(-period // pieces), False)


class Periods(NamedTuple):
    """A round as periods of equal length, each an epoch or the whole round.

    Attributes:
      number: periods in the round. length: steps in a period. chunks: full chunks in a period.
    """

    number: int
    length: int
    chunks: int


class Stepping(NamedTuple):
    """Steps, epochs and rounds of cohorts that take the same batches.

    Where folds have their own number of steps, every step here is an array [folds], the fold's own.

    Attributes:
      cohort: any of these cohorts. rounds: rounds of the whole sweep. data: None without data.
      shared_bytes: of what is computed once of each row, see `shared_work.py`.
    """

    cohort: CohortPlan
    rounds: int
    data: Data | None
    shared_bytes: int = 0

    @property
    def chunks(self) -> StepChunks:
        """How steps are cut into chunks; with traced sizes, for data that fill their capacity."""
        row_bytes = 0 if self.data is None else self.data.row_bytes + self.shared_bytes
        return step_chunks(self.cohort, self.rounds, row_bytes)

    @property
    def lengths(self) -> FoldLengths | None:
        """How long every fold trains, where folds have their own number of steps."""
        return fold_lengths(self.cohort, self.data)

    @property
    def steps_per_epoch(self) -> Any:
        """Steps in an epoch, as a number, or an array [folds]; None without data."""
        lengths = self.lengths
        if lengths is not None:
            return jnp.maximum(lengths.steps_per_epoch, 1)  # an empty fold has none
        return self.cohort.steps_per_epoch

    def bounds(self, number: Array) -> tuple[Array, Array]:
        """Returns the steps at which round `number` begins and ends."""
        lengths = self.lengths
        if lengths is not None and self.cohort.by_fold is None:  # sizes are traced
            epochs = self.cohort.steps // (self.cohort.steps_per_epoch or 1)
            in_epochs = dataclasses.replace(self.cohort, steps=epochs)
            done = jnp.asarray(round_boundaries(in_epochs, self.rounds))
            at = lambda round: done[round] * lengths.steps_per_epoch
            return at(number), at(number + 1)
        bounds = jnp.asarray(round_boundaries(self.cohort, self.rounds))
        return bounds[number], bounds[number + 1]

    def periods(self) -> Periods | None:
        """Returns the periods of a round; None where epochs and rounds do not fit each other, or
        folds have their own steps, so that there are none."""
        period, chunk, even = self.chunks
        if not even or self.lengths is not None:
            return None
        in_round = self.cohort.steps // self.rounds
        return Periods(in_round // period, period, period // chunk)

    def steps_left(self, step: Array, end: Array) -> Array:
        """Returns the steps from `step` to the end of its epoch, or to `end` if that is sooner."""
        left = end - step
        if self.steps_per_epoch is None:
            return left
        return jnp.minimum(left, self.steps_per_epoch - remainder(step, self.steps_per_epoch))

    def begins_epoch(self, step: Array) -> Any:
        """Returns whether an epoch begins with `step`; never without data."""
        if self.steps_per_epoch is None:
            return False
        return remainder(step, self.steps_per_epoch) == 0

    def epoch_rows(self, seed: Any, step: Array) -> Any:
        """Returns what `chunk_rows` takes the rows of `step`'s epoch from; None without data."""
        steps_per_epoch = self.steps_per_epoch
        if self.data is None or self.cohort.batch_size is None or steps_per_epoch is None:
            return None
        return self.data.epoch_rows(seed, quotient(step, steps_per_epoch), self.cohort.batch_size)

    def chunk_rows(self, epoch_rows: Any, step: Array) -> Any:
        """Returns the rows of the chunk that begins with `step`, [chunk, batch], or [folds, chunk,
        batch], out of those of its epoch."""
        size = self.cohort.batch_size
        if self.data is None or size is None or epoch_rows is None:
            return None
        first = remainder(step, self.steps_per_epoch)
        return self.data.chunk_rows(epoch_rows, first, self.chunks.chunk, size)

    def leading_rows(self, seed: Any, step: Array, most: int) -> Any:
        """Returns the rows of the first batches, at most so many, of the epoch that `step` lies in.

        They are [batches, batch], or [folds, batches, batch] of data in folds; None without data.
        """
        epoch_rows, size = self.epoch_rows(seed, step), self.cohort.batch_size
        if self.data is None or size is None or epoch_rows is None:
            return None
        count = min(most, self.data.steps_per_epoch(size))
        return self.data.chunk_rows(epoch_rows, jnp.zeros_like(step), count, size)


def batch_shapes(data: Data | None, rows: int | None) -> PyTree:
    """Returns the shapes of a batch of so many rows, as one training sees it; None without data.

    Args:
      data: shapes will do.
    """
    if data is None or rows is None:
        return None
    one_row = jax.eval_shape(lambda data: data.take(data.first_rows(1)), data)
    axes = 2 if data.folded else 1  # those before the shape of a row
    return {
        name: jax.ShapeDtypeStruct((rows, *leaf.shape[axes:]), leaf.dtype)
        for name, leaf in one_row.items()
    }
