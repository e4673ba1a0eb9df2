"""What the program is called with and what it carries from round to round."""

from __future__ import annotations

from typing import Any, NamedTuple

from vtune.data.dataset import Data
from vtune.engine.population import Population, Record
from vtune.types import PyTree


class Carry(NamedTuple):
    """One cohort between rounds: all of it is donated from call to call."""

    population: Population
    memory: PyTree
    record: Record


class EarlierRun(NamedTuple):
    """What a sweep was before it went on.

    Attributes:
      records: of its rounds. populations: by cohort, as they stand. memories: by cohort what the
        refiner remembers, None where it begins anew.
    """

    records: Any
    populations: tuple[Population, ...]
    memories: tuple[PyTree, ...] | None


class Trajectory(NamedTuple):
    """Where a member stood, round by round: its ids and hyperparameters are these, whatever
    the refiner says. Leaves [rounds, pop]."""

    id: Any
    hparams: PyTree


class Arguments(NamedTuple):
    """What the program is called with beside the carry and the rounds; nothing static."""

    seed: Any
    space: tuple[PyTree, ...]  # by cohort: traced distributions by name
    refiner: Any
    data: Data | None
    trajectory: Trajectory | None = None  # only where a member is trained again along its lineage
    weights: PyTree = None  # from elsewhere, to start from
