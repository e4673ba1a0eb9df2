"""The population that is carried from round to round, and how a refiner's decision moves it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vtune.engine.exchange import take_parents
from vtune.engine.layout import Layout
from vtune.refine.base import Refinement
from vtune.types import Array, FloatArray, IntArray, PyTree

ON_ONE_DEVICE = Layout(devices=1)


class Population(NamedTuple):
    """The members of a cohort; every leaf has the leading axis pop.

    Attributes:
      id: [pop] int32, index in the first population.
      hparams: traced hyperparameters by name, each [pop].
      state: the learner's states.
      score: [pop], higher is better, -inf where there is none.
      died: [pop] int32, the step that a member diverged at, or -1.
      stopped: [pop] int32, the round that a member stopped after, or -1; None where no member
        stops early.
      best: each member's best round so far, a `BestSoFar`; None as `stopped`.
      objectives: [pop, objectives] as `score`, by what the refiner asks for; None where it asks for
        no more than the score.
    """

    id: IntArray[Array, " pop"]
    hparams: PyTree
    state: PyTree
    score: FloatArray[Array, " pop"]
    died: IntArray[Array, " pop"]
    stopped: Any = None
    best: Any = None
    objectives: Any = None


class BestSoFar(NamedTuple):
    """Each member's best round so far.

    Attributes:
      score: [pop]. round: [pop] int32.
      state: the states after that round. hparams: the traced hyperparameters that they were
        trained with in it. Both None where the best weights are not kept.
    """

    score: Array
    round: Array
    state: PyTree
    hparams: PyTree


class Record(NamedTuple):
    """What is observed in each round; leaves [rounds, pop, ...]."""

    parents: PyTree
    hparams: PyTree
    metrics: PyTree


def gather(
    population: Population, refinement: Refinement, layout: Layout = ON_ONE_DEVICE
) -> Population:
    """Moves every slot's parent into it, and sets the new hyperparameters.

    The ids stay with their slots, so that two copies of one member do not share their noise. In a
    smaller next population they go with their members. A copy takes its parent's best round along.
    Nothing is copied where every slot continues itself.

    Args:
      layout: over whose devices the members are dealt out, where none is dropped.
    """
    parents = refinement.parents
    if parents.shape[0] < population.id.shape[0]:
        survivors = jax.tree.map(lambda leaf: jnp.take(leaf, parents, axis=0), population)
        return survivors._replace(hparams=refinement.hparams)
    scores = (population.score, population.objectives)
    moved = (population.state, *scores, population.died, population.best)
    state, score, objectives, died, best = take_parents(moved, parents, layout)
    return population._replace(
        hparams=refinement.hparams,
        state=state,
        score=score,
        died=died,
        best=best,
        objectives=objectives,
    )
