"""The population: what is carried, how it is moved, how one member's work is done for all.

`over_members` is the only place that knows vmap, map and chunks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.refine.base import Refinement
from vtune.types import Array, FloatArray, IntArray, PyTree


class Population(NamedTuple):
    """Carried from round to round; every leaf has the leading axis pop.

    Attributes:
      id: [pop] int32, index in the first population.
      hparams: traced hyperparameters by name, each [pop].
      state: the learner's states.
      score: [pop], higher is better, -inf where there is none.
      died: [pop] int32, the step a member diverged at, or -1.
      stopped: [pop] int32, the round a member stopped after, or -1; None where none does.
      kept: the best so far, where members stop or the best weights are kept.
    """

    id: IntArray[Array, " pop"]
    hparams: PyTree
    state: PyTree
    score: FloatArray[Array, " pop"]
    died: IntArray[Array, " pop"]
    stopped: Any = None
    kept: Any = None


class Kept(NamedTuple):
    """The best of each member so far: its score [pop], its round [pop], and its state where the
    best weights are kept."""

    score: Array
    round: Array
    state: PyTree


class Record(NamedTuple):
    """Observed each round; leaves [rounds, pop, ...]."""

    parents: PyTree
    hparams: PyTree
    metrics: PyTree


def gather(population: Population, refinement: Refinement) -> Population:
    """Moves every slot's parent into it, and sets the new hyperparameters.

    The ids stay with their slots, so that two copies of one member do not share their noise; in
    a smaller next population they go with their members. Nothing is copied when every slot
    continues itself.
    """
    parents = refinement.parents
    if parents.shape[0] < population.id.shape[0]:
        kept = jax.tree.map(lambda leaf: jnp.take(leaf, parents, axis=0), population)
        return kept._replace(hparams=refinement.hparams)
    moved = (population.state, population.score, population.died)
    state, score, died = lax.cond(
        jnp.all(parents == jnp.arange(parents.shape[0])),
        lambda tree: tree,
        lambda tree: jax.tree.map(lambda leaf: jnp.take(leaf, parents, axis=0), tree),
        moved,
    )
    return population._replace(hparams=refinement.hparams, state=state, score=score, died=died)
