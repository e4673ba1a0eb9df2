"""Members that stop before the others: their own number of epochs, patience, the best weights kept.

A member that has stopped is frozen: it is trained no more, its score stays, and its history is NaN
from the next round on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Kept, Population
from vtune.types import Array


def begin(plan: Plan, population: Population) -> Population:
    """With what is noted about stopping, before the first round."""
    if plan.stopping is None:
        return population
    number = jnp.full(population.id.shape, -1, jnp.int32)
    state = population.state if plan.stopping.keep == "best" else None
    kept = Kept(population.score, jnp.zeros_like(number), state)
    return population._replace(stopped=number, kept=kept)


def active(population: Population) -> Array | None:
    """[pop] who is still trained; None where nobody stops."""
    return None if population.stopped is None else population.stopped < 0


def note(
    plan: Plan, cohort: CohortPlan, before: Population, after: Population, number: Array
) -> Population:
    """Notes a better score, keeps its weights, and who stops after round `number`.

    Args:
      before, after: the population before and after it was scored in this round.
    """
    if plan.stopping is None:
        return after
    live, kept = before.stopped < 0, before.kept
    score = jnp.where(live, after.score, before.score)
    better = live & ((score > kept.score) | (number == 0))
    best = (
        jax.tree.map(
            lambda new, old: jnp.where(_along(better, new), new, old), after.state, kept.state
        )
        if kept.state is not None
        else None
    )
    kept = Kept(jnp.where(better, score, kept.score), jnp.where(better, number, kept.round), best)
    over = number + 1 >= _budgets(plan, cohort, after.hparams)
    if plan.stopping.patience is not None:
        over |= number - kept.round >= plan.stopping.patience
    stopped = jnp.where(live & over, number, before.stopped)
    return after._replace(score=score, stopped=stopped, kept=kept)


def _budgets(plan: Plan, cohort: CohortPlan, traced: dict[str, Any]) -> Any:
    """Rounds that a member, or each of [pop], is to be trained."""
    if plan.stopping is None or not plan.stopping.own_epochs:
        return plan.rounds
    return cohort.h(traced)["total_steps"] // (cohort.steps_per_epoch or 1)


def _along(chosen: Array, leaf: Array) -> Array:
    return chosen.reshape(chosen.shape + (1,) * (leaf.ndim - 1))


class TrainingEnds(NamedTuple):
    """How each member's training ended, by slot, on the host.

    Attributes:
      shown: [pop] the round whose weights it holds at the end. stopped: [pop] the round it stopped
        after, or -1. budget: [pop] the rounds it was to be trained.
    """

    shown: np.ndarray
    stopped: np.ndarray
    budget: np.ndarray


def training_ends(
    plan: Plan, cohort: CohortPlan, population: Population, rounds: int
) -> TrainingEnds:
    """Of a population after so many rounds."""
    size = population.id.shape[0]
    if plan.stopping is None:
        last = np.full(size, rounds - 1)
        return TrainingEnds(last, np.full(size, -1), np.full(size, plan.rounds))
    traced = {name: np.asarray(values) for name, values in population.hparams.items()}
    budget = np.broadcast_to(_budgets(plan, cohort, traced), size)  # in NumPy: JAX would compile
    stopped = np.asarray(population.stopped)
    last = np.where(stopped < 0, rounds - 1, stopped)
    best = plan.stopping.keep == "best"
    return TrainingEnds(np.asarray(population.kept.round) if best else last, stopped, budget)


def final_population(plan: Plan, population: Population) -> Population:
    """The population with the weights that are kept, and nothing more about stopping."""
    if plan.stopping is None:
        return population
    kept, population = population.kept, population._replace(stopped=None, kept=None)
    if plan.stopping.keep == "last":
        return population
    died = np.asarray(population.died) >= 0
    score: Any = np.where(died, -np.inf, np.asarray(kept.score))
    return population._replace(state=kept.state, score=score)
