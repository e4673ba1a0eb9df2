"""The results of a run as one plain record, which everything else in this folder reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments, EarlierRun
from vtune.engine.early_stopping import final_population
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.results.history import Records, join
from vtune.runtime import processes
from vtune.runtime.execute import Outcome
from vtune.runtime.hosted import all_members, is_here, one_member
from vtune.search.base import Cohort
from vtune.space.space import Space
from vtune.types import PyTree


class Timing(NamedTuple):
    """Seconds spent compiling (0 where the program had been compiled before) and running."""

    compile: float
    run: float


class Drawn(NamedTuple):
    """How the members of a sweep were drawn.

    Attributes:
      search: its name; None where it is not known.
      generation_size: the members of each generation, for a search by generations; else None.
      began_from: by generation, the member whose weights it began with, or -1 for drawn ones.
      objectives: (metric, "max" or "min") of each, where the search had several; the first one
        that is recorded is what members are compared by.
    """

    search: str | None = None
    generation_size: int | None = None
    began_from: tuple[int, ...] = ()
    objectives: tuple[tuple[str, str], ...] = ()


NOT_KNOWN = Drawn()


@dataclass(frozen=True, eq=False)
class Trained:
    """All that a run leaves of a sweep.

    Arrays by member have one column per member, in the order of the first population.

    Attributes:
      plan: what the program was compiled for. space: the checked space.
      cohorts: as drawn, before the first round. populations: by cohort, at the end.
      records: the history, the settings and the parents, [rounds, members].
      seed: of the whole sweep. timing: seconds of compiling and of running.
      data: what the members were trained on; None without data and for a loaded sweep.
      rows: name of an entry of the data -> [shape of one row, dtype]; None without data.
      weights: what all members started from, where `init_from=` was given.
      scaling: name of an entry of the data -> (shift, factor), for `predict`.
      refiner, memories: the refiner and, by cohort, what it remembers; None where an older format
        did not hold them, a `Described` refiner where a file cannot.
      stopped: what the status of a member says where fewer rounds were run than planned.
      columns: name of an entry -> the names of its columns, where it was a data frame.
      provenance: of a loaded sweep, what its file says of its making; see `provenance`.
      lacks: why there are no states, for a sweep that was read without them; else None.
      drawn: how the members were drawn.
      fetched: by column, states [1, ...] that lie over several processes and were brought here: the
        best member's, and those that were asked for.
    """

    plan: Plan
    space: Space
    cohorts: tuple[Cohort, ...]
    populations: tuple[Population, ...]
    records: Records
    seed: int
    timing: Timing
    data: Data | None = None
    rows: dict[str, Any] | None = None
    weights: PyTree = None
    scaling: Mapping[str, Any] = field(default_factory=dict)
    refiner: Any = None
    memories: tuple[PyTree, ...] | None = None
    stopped: str = "interrupted"
    columns: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] | None = None
    lacks: str | None = None
    drawn: Drawn = NOT_KNOWN
    fetched: dict[int, PyTree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        records = self.records
        for array in (*records.history.values(), *records.settings.values(), records.parents):
            array.flags.writeable = False  # scores and reruns read them

    def check_whole(self) -> None:
        """Raises ValueError where the members' states are not there."""
        if self.lacks is not None:
            raise ValueError(self.lacks)

    @functools.cached_property
    def places(self) -> list[tuple[int, int]]:
        """By column: the cohort and the slot that the member stands in at the end."""
        place_of = {
            int(id): (cohort, slot)
            for cohort, population in enumerate(self.populations)
            for slot, id in enumerate(np.asarray(population.id))
        }
        return [place_of[id] for id in sorted(place_of)]

    @property
    def objectives(self) -> tuple[tuple[str, str], ...]:
        """See `Drawn`."""
        return self.drawn.objectives

    @property
    def first_id(self) -> int:
        """The id of the first column: not 0 in a generation by itself."""
        return min(int(np.asarray(population.id).min()) for population in self.populations)

    def columns_of(self, ids: Any) -> np.ndarray:
        """The columns of members."""
        return np.asarray(ids) - self.first_id

    @functools.cached_property
    def lived(self) -> np.ndarray:
        """[members] the rounds that each member was trained for."""
        return self.records.lived

    @functools.cached_property
    def last_trained(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the weights that each member holds, the round that trained them last, and the column
        they stood in: another's where a copy took its parent's best along. Each [members]."""
        ends, parents = self.records.ends, self.records.parents
        columns = np.arange(len(ends))
        for number in range(len(parents) - 1, ends.min() - 1, -1):
            before = parents[number, columns]
            columns = np.where((number >= ends) & (before >= 0), before, columns)
        return ends - 1, columns

    @property
    def rounds(self) -> int:
        """The rounds that were run: fewer than planned after Ctrl-C."""
        return len(self.records.parents)

    @property
    def metric_name(self) -> str:
        """The metric that members are compared by; "score" where `metric=` was a function."""
        return self.plan.metric if isinstance(self.plan.metric, str) else "score"

    @property
    def scores(self) -> np.ndarray:
        """[members] last scores, higher is better; -inf where there is no finite one."""
        vectors = [np.asarray(population.score) for population in self.populations]
        return np.array([vectors[cohort][slot] for cohort, slot in self.places], np.float64)

    @property
    def ranking(self) -> np.ndarray:
        """[members] columns from best to worst: longest trained first, then by last score."""
        return np.lexsort((-self.scores, -self.lived))

    def dropped(self, column: int) -> bool:
        """Whether a refiner dropped this member."""
        return bool(self.lived[column] < self.rounds)

    def has_state(self, column: int) -> bool:
        """Whether the member's state is there: a dropped one leaves only its best, if anything."""
        return not self.dropped(column) or self.plan.keeps_best

    def state_of(self, column: int) -> tuple[PyTree, int]:
        """States of the member's population, and its slot in them.

        Where they lie over several processes, those of the best member are here already; for
        others all processes must ask together.

        Raises:
          MissingProcessError: a RuntimeError; another process did not ask in time.
        """
        cohort, slot = self.places[column]
        states = self.populations[cohort].state
        if is_here(states):
            return states, slot
        if column not in self.fetched:
            processes.meet(f"the weights of member {column + self.first_id}")
            self.fetched[column] = one_member(states, slot)
        return self.fetched[column], 0

    def with_states_here(self, what: str, keep: bool = True) -> Trained:
        """The record with all members' states on this host, where they lie over several
        processes. All of them must ask together.

        Args:
          what: they are for. keep: whether this process wants them; else it gets None for them.

        Raises:
          MissingProcessError: a RuntimeError; another process did not ask in time.
        """
        if all(is_here(population.state) for population in self.populations):
            return self
        processes.meet(what)
        return dataclasses.replace(
            self,
            populations=tuple(
                population._replace(state=all_members(population.state, keep))
                for population in self.populations
            ),
        )

    def traced(self, column: int) -> dict[str, Any]:
        """A member's traced hyperparameters at the end, by name."""
        cohort, slot = self.places[column]
        hparams = self.populations[cohort].hparams
        return {name: np.asarray(values)[slot] for name, values in hparams.items()}

    def lived_settings(self, column: int) -> dict[str, np.ndarray]:
        """The traced hyperparameters [rounds] of a member's weights, by name."""
        lineage, settings = self.records.lineage(column), self.records.settings
        traced = self.plan.cohorts[self.places[column][0]].traced
        return {
            name: settings[name][np.arange(len(lineage)), lineage].astype(dtype)
            for name, dtype in traced
        }


def rows_of(data: Data) -> dict[str, Any]:
    """Returns the shape and the type of a row of each entry; see `Trained.rows`."""
    return {name: [list(a.shape[1:]), str(a.dtype)] for name, a in data.arrays.items()}


def finish(
    plan: Plan,
    space: Space,
    cohorts: tuple[Cohort, ...],
    arguments: Arguments,
    outcome: Outcome,
    stopped: str | None = None,
    past: EarlierRun | None = None,
    drawn: Drawn = NOT_KNOWN,
) -> Trained:
    """Makes the record of a run from what the program returned.

    Args:
      stopped: see `Trained`; what the run says when left out.
      past: of an extended sweep, what it was before these rounds. drawn: see `Trained`.
    """
    data = arguments.data
    trained = Trained(
        plan=plan,
        space=space,
        cohorts=cohorts,
        populations=tuple(final_population(plan, carry.population) for carry in outcome.carry),
        records=join(plan, cohorts, outcome.carry, outcome.rounds, past),
        seed=int(arguments.seed),
        timing=Timing(outcome.compile_seconds, outcome.run_seconds),
        data=data,
        rows=None if data is None else rows_of(data),
        weights=arguments.weights,
        scaling={} if data is None else data.scaling,
        refiner=arguments.refiner,
        memories=tuple(carry.memory for carry in outcome.carry),
        stopped=stopped or outcome.ended or "stopped",
        columns={} if data is None else data.columns,
        drawn=drawn,
    )
    if not all(is_here(population.state) for population in trained.populations):
        trained.state_of(int(trained.ranking[0]))  # so that the best weights are in every process
    return trained
