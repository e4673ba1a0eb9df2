"""Early stopping of single members (own epochs, patience), inside the program; best weights kept.

A member that has stopped is frozen: it is trained no more, its score and settings stay, and its
history is NaN from the next round on (it becomes so on the host). Refiners may drop it, but neither
replace nor copy it. `training_ends` and `final_population` run on the host after the program, all
else inside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.engine.carry import Carry
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import BestSoFar, Population
from vtune.refine.base import Refinement
from vtune.types import Array

OneRound = Callable[[Array, tuple[Carry, ...]], tuple[Carry, ...]]


def with_tracking(plan: Plan, population: Population) -> Population:
    """Returns the population before the first round, with the fields that early stopping needs."""
    if plan.stopping is None:
        return population
    never = jnp.full(population.id.shape, -1, jnp.int32)
    kept = (None, None)
    if plan.keeps_best:
        kept = (population.state, population.hparams)
    best = BestSoFar(population.score, jnp.zeros_like(never), *kept)
    return population._replace(stopped=never, best=best)


def over_rounds(
    plan: Plan, first: Any, stop: Any, one_round: OneRound, carries: tuple[Carry, ...]
) -> tuple[Carry, ...]:
    """Returns the carries after rounds [first, stop), or after that in which the last of all
    members stopped: rounds in which nobody is trained are not run, and their records stay empty."""
    if plan.stopping is None:
        return lax.fori_loop(first, stop, one_round, carries)

    def going_on(carried: Any) -> Any:
        number, carries = carried
        anyone = [jnp.any(carry.population.stopped < 0) for carry in carries]
        return (number < stop) & jnp.any(jnp.stack(anyone))

    def next_round(carried: Any) -> Any:
        number, carries = carried
        return number + 1, one_round(number, carries)

    return lax.while_loop(going_on, next_round, (first, carries))[1]


def held(population: Population, refinement: Refinement) -> Refinement:
    """Returns a refiner's decision without what it does to those who have stopped: their settings
    stay, they take no other's weights, and a slot that would take theirs goes on with its own.

    Copied, the weights would have a gap in their training, and no rerun could follow.
    """
    if population.stopped is None:
        return refinement
    over, parents = population.stopped >= 0, refinement.parents
    stays = over[parents]  # of survivors in fewer slots, too
    if len(parents) == len(over):
        stays |= over
        parents = jnp.where(stays, jnp.arange(len(over), dtype=parents.dtype), parents)
    hparams = {
        name: jnp.where(stays, population.hparams[name][parents], values)
        for name, values in refinement.hparams.items()
    }
    return Refinement(parents, hparams)


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

    kept: Any = (best.state, best.hparams)
    if plan.keeps_best:
        kept = jax.tree.map(replace, (after.state, after.hparams), kept)
    best = BestSoFar(
        jnp.where(better, score, best.score), jnp.where(better, number, best.round), *kept
    )
    over = number + 1 >= _budgets(plan, cohort, after.hparams)
    if plan.stopping.patience is not None:
        over |= number - best.round >= plan.stopping.patience
    stopped = jnp.where(live & over, number, before.stopped)
    objectives = after.objectives
    if objectives is not None:
        objectives = jnp.where(live[:, None], objectives, before.objectives)
    return after._replace(score=score, stopped=stopped, best=best, objectives=objectives)


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
    shown = np.asarray(population.best.round) if plan.keeps_best else last
    return TrainingEnds(shown, stopped, budget)


def final_population(plan: Plan, population: Population) -> Population:
    """Returns the population with the weights that its members keep, without the fields of early
    stopping and of several objectives."""
    population = population._replace(objectives=None)
    if plan.stopping is None:
        return population
    best, population = population.best, population._replace(stopped=None, best=None)
    if not plan.keeps_best:
        return population
    died = np.asarray(population.died) >= 0
    score: Any = np.where(died, -np.inf, np.asarray(best.score))
    return population._replace(state=best.state, hparams=best.hparams, score=score)
