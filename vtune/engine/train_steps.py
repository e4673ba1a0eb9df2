"""One replicate of one member, trained for a chunk of steps: the unit of all training.

`run` loops over chunks, `replicates` and `parallel` lift this work to the whole population.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.engine.carry import Arguments
from vtune.engine.divergence import all_finite, died_by_replicate, note_divergence
from vtune.engine.fold_steps import FoldLengths, of_fold, with_own_lengths
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.recording import zero_sums
from vtune.engine.replicates import Replicate, Replicates, replicate_key
from vtune.engine.scopes import STEPS
from vtune.engine.shared_work import SharedWork
from vtune.metrics.totals import widened
from vtune.rng.threefry import folded
from vtune.types import Array, PyTree
from vtune.xla.loops import flat, fused, side_by_side


class Progress(NamedTuple):
    """What a training carries from step to step within a round.

    Attributes:
      state: the learner's. died: the step it diverged at, or -1.
      sums: of the step's metrics by name.
    """

    state: PyTree
    died: Array
    sums: PyTree


class Chunk(NamedTuple):
    """Consecutive steps whose rows are gathered together, the same for all trainings.

    Attributes:
      seed: the sweep's seed.
      first: the number of the first step. steps: how many. Both [folds] where folds have their own.
      lengths: how long every fold trains; None where all take the same steps.
      columns: the batches transposed, for fused members only.
      weights: in which members' frozen variables are; None where they have none.
    """

    seed: Any
    first: Array
    steps: Array
    lengths: FoldLengths | None
    columns: Any
    weights: PyTree


@dataclass(frozen=True)
class StepTrainer:
    """Trains one replicate of one member for a chunk of steps; what it holds is static.

    Attributes:
      work: the member's step. cohort, replicates: the member's.
      steps: steps of every chunk; None where they are traced.
      fused: how many trainings a core steps together.
      side_by_side: whether members run under vmap.
    """

    work: SharedWork
    cohort: CohortPlan
    replicates: Replicates | None
    steps: int | None
    fused: int
    side_by_side: bool

    def __call__(
        self, replicate: Replicate | None, member: Any, progress: Progress, rows: Any, chunk: Chunk
    ) -> Progress:
        """Returns the progress after the chunk.

        Args:
          member: id, traced hyperparameters, and whether it still trains (None: all members do).
          rows: returns the batch of a step of the chunk, or all batches without an argument, each
            with the values that `work` takes.
        """
        id, traced, active = member
        h = self.cohort.h(with_own_lengths(self.cohort, chunk.lengths, traced, replicate))
        key = replicate_key(self.replicates, chunk.seed, id, replicate)
        first = of_fold(chunk.first, replicate)
        steps: Any = of_fold(chunk.steps, replicate) if self.steps is None else self.steps
        if chunk.lengths is not None:
            steps = jnp.where(id >= 0, steps, 0)  # an id below 0 is that of an empty slot

        def one_step(i: Array, batch: Any, progress: Progress) -> Progress:
            step = first + i
            state, metrics = self.work(chunk.weights, folded(key, step), h, progress.state, batch)
            died = note_divergence(progress.died, all_finite(metrics), step)
            return Progress(state, died, jax.tree.map(jnp.add, progress.sums, widened(metrics)))

        if self.fused > 1:
            with jax.named_scope(STEPS):
                return fused.fori_loop(steps, one_step, progress, rows(), chunk.columns)

        def train(progress: Progress) -> Progress:
            with jax.named_scope(STEPS):
                if self.side_by_side:
                    return side_by_side.fori_loop(steps, one_step, progress, rows())
                return flat.fori_loop(0, steps, lambda i, p: one_step(i, rows(i), p), progress)

        if active is None:
            return train(progress)
        return lax.cond(active, train, lambda progress: progress, progress)


def start_progress(
    plan: Plan, cohort: CohortPlan, population: Population, arguments: Arguments
) -> Progress:
    """Returns the progress of all trainings before a round, leaves [pop, replicates, ...]."""
    died = died_by_replicate(population.died, plan.replicates)
    return Progress(population.state, died, zero_sums(plan, cohort, population, arguments))
