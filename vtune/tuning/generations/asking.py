"""Asks a study of Optuna's for the members of a generation, and tells it what they came to.

Every trial says of which run's member it is from the moment it is there, so that a run that was
killed finds its own again: none is lost, none is asked for twice. Before each parameter the
sampler's random numbers are seeded anew, by the sweep's seed, the member and the parameter, so a
run that goes on asks for what it would have asked for.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from vtune.log.rows import plain
from vtune.results.member import Member
from vtune.results.trained import Trained
from vtune.search.base import Cohort
from vtune.search.base import columns as columns_of
from vtune.search.generations import Generations
from vtune.space.space import Space
from vtune.studies.asked import (
    MEMBER,
    PLACES,
    RUN,
    asked_distributions,
    chosen_params,
    params_of,
    places_asked,
    values_of,
)
from vtune.studies.library import hushed, optuna_module
from vtune.tuning.generations.values import told_values


class Asking:
    """A study, asked for the generations of one run.

    Args:
      search: as checked. study: that is asked. space, seed: of the sweep.
      cohorts: of the first generation, as drawn.
      run: the run's own name, by which it finds its trials again.
      objectives: what trials are told: (name, "max" or "min") of each.
    """

    def __init__(
        self,
        search: Generations,
        study: Any,
        space: Space,
        seed: int,
        cohorts: tuple[Cohort, ...],
        run: str,
        objectives: tuple[tuple[str, str], ...],
    ):
        self._optuna = optuna_module("vt.Generations")
        self._study, self._space, self._seed, self._run = study, space, seed, run
        self._sampler = copy.deepcopy(search.sampler)  # its state is of this run alone
        self._objectives, self._constraints = objectives, search.constraints
        self._cohorts = cohorts
        self._size = sum(len(cohort.id) for cohort in cohorts)
        self._places = {
            int(id): (number, slot)
            for number, cohort in enumerate(cohorts)
            for slot, id in enumerate(cohort.id)
        }
        complete = self._optuna.trial.TrialState.COMPLETE
        others = [trial for trial in self._trials(complete) if trial.user_attrs.get(RUN) != run]
        self._continues = bool(others)
        self._distributions = [asked_distributions(space, c.combination) for c in cohorts]
        places = places_asked(space)
        if places:
            study.set_user_attr(PLACES, places)

    def cohorts(self, generation: int) -> tuple[Cohort, ...]:
        """Returns the members of a generation: those asked for before, and new ones for the
        rest."""
        known = self._own()
        settings: list[list[Any]] = [[] for _ in self._cohorts]
        with self._asked_quietly():
            for place in range(self._size):
                member = generation * self._size + place
                number, slot = self._places[place]
                fixed = self._fixed(member, number, slot)
                params = self._params(member, number, fixed, known.get(member))
                combination = self._cohorts[number].combination
                values = values_of(self._space, combination, params)
                settings[number].append([values[name] for name in combination.traced])
        return tuple(
            Cohort(
                cohort.combination,
                (cohort.id + generation * self._size).astype(np.int32),
                columns_of(cohort.combination, table),
            )
            for cohort, table in zip(self._cohorts, settings, strict=True)
        )

    def tell(self, generation: int, trained: Trained) -> None:
        """Tells the study what the members of a generation came to; who was told is not told
        again.

        Args:
          trained: of this generation alone.
        """
        known, told = self._own(), told_values(trained, self._objectives)
        with self._asked_quietly():
            for column in range(self._size):
                frozen = known[generation * self._size + column]
                if frozen.state.is_finished():
                    continue
                self._tell(frozen, Member(trained, column), told[column])

    def tell_missing(self, trained: Trained) -> None:
        """Adds the trials of finished generations to a study that has none of them: one that was
        kept in memory by a process that is gone.

        Args:
          trained: of all generations that are finished.
        """
        known, told = self._own(), told_values(trained, self._objectives)
        missing = [i for i in range(len(told)) if trained.first_id + i not in known]
        with self._asked_quietly():
            for column in missing:
                number, _ = trained.places[column]
                combination = self._cohorts[number].combination
                fixed = params_of(self._space, combination, trained.traced(column))
                member = Member(trained, column)
                self._params(member.index, number, fixed, None)
                self._tell(self._own()[member.index], member, told[column])

    def give_up(self) -> None:
        """Ends the trials that were asked for and never trained, as failed."""
        states = self._optuna.trial.TrialState
        for frozen in self._own().values():
            if frozen.state == states.RUNNING:
                self._study.tell(frozen.number, state=states.FAIL)

    # One trial

    def _params(
        self, member: int, number: int, fixed: dict[str, Any], frozen: Any
    ) -> dict[str, Any]:
        """Returns the parameters of a member's trial, asked for as far as they are not there.

        Args:
          number: of its cohort. fixed: parameters that the sampler is not asked for.
          frozen: the trial, where a run that was killed had begun to ask for it.
        """
        distributions = self._distributions[number]
        if frozen is not None and distributions.keys() <= frozen.params.keys():
            return frozen.params
        seeded(self._sampler, self._seed, member)
        self._study.sampler = self._optuna.samplers.PartialFixedSampler(fixed, self._sampler)
        waiting = self._optuna.trial.TrialState.WAITING
        if frozen is None:
            self._study.enqueue_trial({}, user_attrs={RUN: self._run, MEMBER: member})
        if frozen is None or frozen.state == waiting:
            trial = self._study.ask()
        else:
            trial = self._optuna.trial.Trial(self._study, frozen._trial_id)
        params = {}
        for place, (name, distribution) in enumerate(distributions.items()):
            seeded(self._sampler, self._seed, member, place)  # what is there is not drawn again
            params[name] = _suggested(trial, name, distribution)
        return params

    def _fixed(self, member: int, number: int, slot: int) -> dict[str, Any]:
        """What is not asked for: the structure, and of a first generation all."""
        cohort = self._cohorts[number]
        if member >= self._size or self._continues:
            return chosen_params(self._space, cohort.combination)
        drawn = {name: cohort.hparams[name][slot] for name in cohort.combination.traced}
        return params_of(self._space, cohort.combination, drawn)

    def _tell(self, frozen: Any, member: Member, values: list[float] | None) -> None:
        states = self._optuna.trial.TrialState
        trial = self._optuna.trial.Trial(self._study, frozen._trial_id)
        trial.set_user_attr("status", member.status)
        last = _last_values(member)
        for name, value in last.items():
            trial.set_user_attr(name, value)
        if self._constraints is not None:
            for number, value in enumerate(np.ravel(self._constraints(last))):
                if f"constraint {number}" not in frozen.constraints:  # of a run that was killed
                    broken = not np.isfinite(value)  # as of a member that diverged
                    trial.set_constraint(f"constraint {number}", np.inf if broken else value)
        if values is None:
            self._study.tell(trial, state=states.FAIL)
        elif member.status.startswith("dropped"):
            for number, value in enumerate(member.history[member.record.metric_name]):
                if np.isfinite(value):
                    trial.report(float(value), number)
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, values)

    # The study

    def _trials(self, *states: Any) -> list[Any]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _own(self) -> dict[int, Any]:
        """This run's trials by member."""
        own = [trial for trial in self._trials() if trial.user_attrs.get(RUN) == self._run]
        return {trial.user_attrs[MEMBER]: trial for trial in own}

    @contextlib.contextmanager
    def _asked_quietly(self) -> Iterator[None]:
        """Leaves the study's own sampler as it was; what Optuna calls experimental is not said."""
        before = self._study.sampler
        try:
            with hushed(self._optuna, self._optuna.logging.WARNING):
                yield
        finally:
            self._study.sampler = before


def _last_values(member: Member) -> dict[str, Any]:
    """The metrics of the validation rows that are single numbers, with the weights that the member
    holds: what a sampler's `constraints_func` reads."""
    trained = member.record
    rounds, columns = trained.last_trained
    column = int(trained.columns_of(member.index))
    return {
        name: plain(values[rounds[column], columns[column]])
        for name, values in trained.records.history.items()
        if values.ndim == 2 and not name.startswith("train/")
    }


def _suggested(trial: Any, name: str, distribution: Any) -> Any:
    """Asks for one parameter; one that is there stays as it is."""
    kind = type(distribution).__name__
    if kind == "CategoricalDistribution":
        return trial.suggest_categorical(name, distribution.choices)
    suggest = trial.suggest_float if kind == "FloatDistribution" else trial.suggest_int
    step = {} if distribution.step is None or distribution.log else {"step": distribution.step}
    return suggest(name, distribution.low, distribution.high, log=distribution.log, **step)


def seeded(sampler: Any, *words: int) -> None:
    """Seeds the random numbers of a sampler, and of those that it holds."""
    for number, held in enumerate(vars(sampler).values()):
        rng = getattr(held, "rng", None)
        if isinstance(rng, np.random.RandomState):
            rng.seed(np.random.SeedSequence([*words, number]).generate_state(4))
        elif callable(getattr(held, "sample_independent", None)):
            seeded(held, *words, number)
