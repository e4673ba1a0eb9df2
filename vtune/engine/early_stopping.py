"""Early stopping of single members (own epochs, patience), inside the program; best weights kept.

A member that has stopped is frozen: it is trained no more, its score stays, and its history is NaN
from the next round on (it becomes so on the host). `update` runs inside the program,
`training_ends` and `final_population` on the host after it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import BestSoFar, Population
from vtune.types import Array


def with_tracking(plan: Plan, population: Population) -> Population:
    """Returns the population before the first round, with the fields that early stopping needs."""
    if plan.stopping is None:
        return population
    never = jnp.full(population.id.shape, -1, jnp.int32)
    state = population.state if plan.stopping.keep == "best" else None
    best = BestSoFar(population.score, jnp.zeros_like(never), state)
    return population._replace(stopped=never, best=best)


def active(population: Population) -> Array | None:
    """Returns whether members still train, [pop]; None where no member stops early."""
    return None if population.stopped is None else population.stopped < 0


def update(
    plan: Plan, cohort: CohortPlan, before: Population, after: Population, number: Array
) -> Population:
    """Returns the population after round `number`, with its best round so far and who stops now.

    Args:
      before, after: the population before and after it was trained and scored in this round.
    """
    if plan.stopping is None:
        return after
    live, best = before.stopped < 0, before.best
    score = jnp.where(live, after.score, before.score)
    better = live & ((score > best.score) | (number == 0))

    def replace(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(better.shape + (1,) * (new.ndim - 1)), new, old)

    state = None if best.state is None else jax.tree.map(replace, after.state, best.state)
    best = BestSoFar(
        jnp.where(better, score, best.score), jnp.where(better, number, best.round), state
    )
    over = number + 1 >= _budgets(plan, cohort, after.hparams)
    if plan.stopping.patience is not None:
        over |= number - best.round >= plan.stopping.patience
    stopped = jnp.where(live & over, number, before.stopped)
    return after._replace(score=score, stopped=stopped, best=best)


def _budgets(plan: Plan, cohort: CohortPlan, traced: dict[str, Any]) -> Any:
    """Returns the rounds that members are to be trained: one number, or [pop]."""
    if plan.stopping is None or not plan.stopping.own_epochs:
        return plan.rounds
    return cohort.h(traced)["total_steps"] // (cohort.steps_per_epoch or 1)


class TrainingEnds(NamedTuple):
    """How the training of each slot's member ended, on the host.

    Attributes:
      shown: [pop] the round whose weights the member holds at the end.
      stopped: [pop] the round that it stopped after, or -1.
      budget: [pop] the rounds that it was to be trained.
    """

    shown: np.ndarray
    stopped: np.ndarray
    budget: np.ndarray


def training_ends(
    plan: Plan, cohort: CohortPlan, population: Population, rounds: int
) -> TrainingEnds:
    """Returns how training ended for the members of a population after `rounds` rounds."""
    size = population.id.shape[0]
    if plan.stopping is None:
        last = np.full(size, rounds - 1)
        return TrainingEnds(last, np.full(size, -1), np.full(size, plan.rounds))
    traced = {name: np.asarray(values) for name, values in population.hparams.items()}
    budget = np.broadcast_to(_budgets(plan, cohort, traced), size)  # in NumPy: JAX would compile
    stopped = np.asarray(population.stopped)
    last = np.where(stopped < 0, rounds - 1, stopped)
    keeps_best = plan.stopping.keep == "best"
    shown = np.asarray(population.best.round) if keeps_best else last
    return TrainingEnds(shown, stopped, budget)


def final_population(plan: Plan, population: Population) -> Population:
    """Returns the population with the weights that its members keep, without the fields of early
    stopping."""
    if plan.stopping is None:
        return population
    best, population = population.best, population._replace(stopped=None, best=None)
    if plan.stopping.keep == "last":
        return population
    died = np.asarray(population.died) >= 0
    score: Any = np.where(died, -np.inf, np.asarray(best.score))
    return population._replace(state=best.state, score=score)
