"""The program's arguments, and what it carries from round to round."""

from __future__ import annotations

from typing import Any, NamedTuple

from vtune.data.dataset import Data
from vtune.engine.plan import Plan
from vtune.engine.population import Population, Record
from vtune.types import PyTree


class Carry(NamedTuple):
    """One cohort between rounds. All of it is donated from call to call."""

    population: Population
    memory: PyTree
    record: Record


class EarlierRun(NamedTuple):
    """What the run of a sweep left, for the run that extends it.

    Attributes:
      records: the records of its rounds.
      populations: by cohort, after its last round.
      memories: by cohort what the refiner remembers; None where it starts with a fresh memory.
    """

    records: Any
    populations: tuple[Population, ...]
    memories: tuple[PyTree, ...] | None


class Trajectory(NamedTuple):
    """The ids and hyperparameters that a member's weights went through, leaves [rounds, pop].

    They take the place of whatever the refiner says.
    """

    id: Any
    hparams: PyTree


class Features(NamedTuple):
    """The values of all rows, in training and in scoring; see `shared_work.py`.

    Attributes:
      train, valid: arrays [rows, ...], or [folds, rows, ...] of data in folds.
    """

    train: list[Any]
    valid: list[Any]


class Arguments(NamedTuple):
    """What the program is called with besides the carry and the rounds; all of it is traced.

    Attributes:
      seed: of the sweep.
      space: by cohort, the traced distributions by name.
      refiner: a pytree of its numbers.
      data: None for learners that make their own. Besides shapes, the engine asks it for `rows`,
        `first_rows`, `evaluation`, `take`, `folded`, `row_bytes`, `train_rows`, `valid_rows`,
        `steps_per_epoch`, `steps_by_fold` and `traced_sizes`, and never for its class.
      trajectory: only where a member is trained again along its lineage.
      weights: weights that all members start from, if not drawn, and those that they share.
      features: by group, what depends on a row and on frozen variables alone, for all rows; None
        where it is computed batch by batch.
    """

    seed: Any
    space: tuple[PyTree, ...]
    refiner: Any
    data: Data | None
    trajectory: Trajectory | None = None
    weights: PyTree = None
    features: tuple[Features, ...] | None = None


def shared_weights(plan: Plan, arguments: Arguments) -> PyTree:
    """Returns the weights in which the members' frozen variables are; None where they have none."""
    return None if plan.learner.share is None else arguments.weights
