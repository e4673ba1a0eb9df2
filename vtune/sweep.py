"""What a sweep leaves: members, history, table. On the host."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from vtune.data import Data
from vtune.execute import Outcome, execute
from vtune.learner import Learner
from vtune.plan import CohortPlan, Plan, describe
from vtune.population import Population, Record
from vtune.predict import checked_rows, predict
from vtune.refine.keep import Keep
from vtune.run import Arguments
from vtune.search import Cohort
from vtune.space import Space
from vtune.traced import program_space
from vtune.types import PyTree, is_whole

if TYPE_CHECKING:
    import pandas


class Timing(NamedTuple):
    """Seconds spent compiling (0 where the program was there already) and running."""

    compile: float
    run: float


class Member:
    """One training of a sweep.

    Attributes:
      index: its number in the first population.
      hparams: its hyperparameters as plain Python values.
      score: the last value of the sweep's metric; NaN where it diverged.
      status: "completed" or "diverged at step N", steps counted from 0: the first whose metrics
        were not finite, or a round's last where only the weights were not; after Ctrl-C
        "interrupted after round N".
      history: metric by name, each [rounds, ...].
    """

    def __init__(self, sweep: Sweep, index: int):
        self._sweep = sweep
        self._column = index
        self._place = sweep._places[index]
        self.index = int(sweep._cohorts[self._place[0]].id[self._place[1]])

    @property
    def hparams(self) -> dict[str, Any]:
        cohort, slot = self._place
        drawn, population = self._sweep._cohorts[cohort], self._sweep._populations[cohort]
        combination = drawn.combination
        traced = {
            name: distribution.report(np.asarray(population.hparams[name])[slot])
            for name, distribution in combination.traced.items()
        }
        values = {**combination.static, **traced}
        return {name: values[name] for name in self._sweep.space.names if name in values}

    @property
    def score(self) -> float:
        name = self._sweep.metric_name
        return float(self._sweep.history[name][-1, self._column])

    @property
    def status(self) -> str:
        cohort, slot = self._place
        died = int(np.asarray(self._sweep._populations[cohort].died)[slot])
        if died >= 0:
            return f"diverged at step {died}"
        done, planned = self._sweep._rounds, self._sweep._plan.rounds
        return "completed" if done == planned else f"interrupted after round {done - 1}"

    @property
    def history(self) -> dict[str, np.ndarray]:
        return {name: values[:, self._column] for name, values in self._sweep.history.items()}

    @property
    def state(self) -> PyTree:
        """The learner's whole state, optimizer state included."""
        cohort, slot = self._place
        return _pick(self._sweep._populations[cohort].state, slot)

    @property
    def variables(self) -> PyTree:
        """What the model is applied with: for linen `model.apply(member.variables, x)`."""
        show = self._sweep.learner.variables
        return self.state if show is None else show(self.state)

    def predict(self, x: Any) -> PyTree:
        """The model's outputs `[rows, ...]` for an array (the entry `x`) or a dict of arrays."""
        cohort, slot = self._place
        plan, sweep = self._sweep._plan.cohorts[cohort], self._sweep
        traced = {k: v[slot] for k, v in sweep._populations[cohort].hparams.items()}
        batch = checked_rows(x, sweep._rows or {})
        size = sweep._plan.eval_batch_size
        return predict(sweep.learner, plan, traced, self.state, batch, size)

    def __repr__(self) -> str:
        return (
            f"Member({self.index}, {self._sweep.metric_name}={self.score:.4g}, {self.status}, "
            f"{ ({name: _shown(value) for name, value in self.hparams.items()}) })"
        )


class Sweep:
    """A trained population, its history and its settings.

    Attributes:
      history: metric by name, `[rounds, members, ...]`; NaN from the round a member diverged
        in. Metrics of the training steps are under `train/<name>`, the round's mean.
      metric_name, mode: what members are compared by ("score" where `metric=` is a function).
      space: the checked space. learner, seed, timing: as run.
    """

    def __init__(
        self,
        plan: Plan,
        space: Space,
        cohorts: tuple[Cohort, ...],
        populations: tuple[Population, ...],
        history: dict[str, np.ndarray],
        seed: int,
        data: Data | None,
        timing: Timing,
        rows: dict[str, Any] | None,
        refined: frozenset[int] = frozenset(),
    ):
        self._plan = plan
        self._cohorts = cohorts
        self._populations = populations
        self._places = places(cohorts)
        self._refined = refined  # columns that a refiner moved or changed
        self._rows = rows  # by entry of the data: [shape of a row, type], for load
        self.space = space
        self.history = history
        self.seed = seed
        self.data = data
        self.timing = timing
        self.learner: Learner = plan.learner
        self.mode: str = plan.mode
        self.metric_name: str = plan.metric if isinstance(plan.metric, str) else "score"

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Member:
        if not is_whole(index):
            raise TypeError("a sweep is indexed by one number; for several: sweep.members[:3]")
        if not -len(self) <= index < len(self):
            raise IndexError(f"member {index} of {len(self)}")
        return Member(self, index % len(self))

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every member, in the order of the first population."""
        return tuple(Member(self, i) for i in range(len(self)))

    @property
    def scores(self) -> np.ndarray:
        """[members] what ranks them: higher is better, -inf where there is no finite score."""
        scores = np.full(len(self), -np.inf)
        for column, (cohort, slot) in enumerate(self._places):
            scores[column] = np.asarray(self._populations[cohort].score)[slot]
        return scores

    @property
    def ranking(self) -> np.ndarray:
        """[members] their indices from best to worst last score, diverged ones last."""
        return np.argsort(-self.scores, kind="stable")

    @property
    def best(self) -> Member:
        """The member with the best last score.

        Raises:
          ValueError: every member diverged or has no finite score.
        """
        best = int(self.ranking[0])
        if not np.isfinite(self.scores[best]):
            raise ValueError(
                f"no member has a finite {self.metric_name} (the first: {self[0].status}); "
                "see sweep.table(), try smaller learning rates, and check that labels and "
                "inputs are in range"
            )
        return self[best]

    def predict(self, x: Any, member: int | None = None) -> PyTree:
        """The best member's outputs, or another's; see `Member.predict`."""
        return (self.best if member is None else self[member]).predict(x)

    def table(self) -> pandas.DataFrame:
        """A row a member: hyperparameters, last and best values, status.

        For a metric `m` the columns are `m` (last), `m/best` and `m/best_round` (counted from
        0, the row of the history; -1 where there never was a value). Choices that are functions
        are shown by name. A hyperparameter called like a metric is under `hparams/<name>`.
        Needs the extra `plot`.
        """
        pandas = _import_pandas()
        taken = {*self.history, "status"}
        settings = [member.hparams for member in self.members]
        columns: dict[str, Any] = {
            f"hparams/{name}" if name in taken else name: [_shown(s.get(name)) for s in settings]
            for name in self.space.names
        }
        for name, values in self.history.items():
            if values.ndim == 2:
                columns[name] = values[-1]
                columns[f"{name}/best"], columns[f"{name}/best_round"] = self._peak(name, values)
        columns["status"] = [member.status for member in self.members]
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(self), name="member"))

    def rerun(self, index: int, data: Data | None = None) -> Member:
        """Trains one member alone, with its own keys and rows, and returns it.

        Args:
          data: only for a loaded sweep, which does not hold its data.

        Raises:
          IndexError: no such member. ValueError: a loaded sweep without data=, or a member that
          a refiner changed on the way.
        """
        member = self[index]
        if member._column in self._refined:
            raise ValueError(
                f"rerun: a refiner gave member {member.index} other weights or hyperparameters on "
                "the way; rerunning such a lineage is not there yet"
            )
        data = data if data is not None else self.data
        cohort, slot = member._place
        own, drawn = self._plan.cohorts[cohort], self._cohorts[cohort]
        if data is None and own.batch_size is not None:
            raise ValueError("rerun: a loaded sweep holds no data; give rerun(i, data=...)")
        alone = drawn._replace(
            id=drawn.id[slot : slot + 1],
            hparams={k: v[slot : slot + 1] for k, v in drawn.hparams.items()},
        )
        if data is not None and own.batch_size is not None:
            steps = data.train.shape[0] // own.batch_size
            if steps != own.steps_per_epoch:
                raise ValueError(
                    f"rerun: the data give {steps} steps an epoch, the sweep had "
                    f"{own.steps_per_epoch}; give the data it was trained on"
                )
        plan, arguments = prepare_alone(self._plan, own, drawn, self.seed, data)
        outcome = execute(plan, (alone,), arguments, stop_after=self._rounds)
        return Member(finish(plan, self.space, (alone,), arguments, outcome), 0)

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes the sweep to a folder: settings, history and every member's state.

        The data are not written. `vt.load(path, learner)` reads it again.

        Raises:
          FileExistsError (a ValueError too): something is there and overwrite is not given.
        """
        from vtune.files import save

        save(self, path, overwrite)

    @property
    def _rounds(self) -> int:
        """Rounds that were run: fewer than planned after Ctrl-C."""
        return len(next(iter(self.history.values())))

    def __repr__(self) -> str:
        best = self[int(self.ranking[0])]
        size = f"{len(self)} members, {self._rounds} rounds"
        return f"Sweep({size}, best {self.metric_name} {best.score:.4g})"

    def _peak(self, name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best value and its round, by column; NaN and -1 where there is none."""
        sign = 1.0 if self._mode_of(name) == "max" else -1.0
        order = np.where(np.isnan(values), -np.inf, sign * values)
        rounds = order.argmax(axis=0)
        best = values[rounds, np.arange(values.shape[1])]
        return best, np.where(np.isnan(best), -1, rounds)

    def _mode_of(self, name: str) -> str:
        if name == self.metric_name:
            return self.mode
        short = name.removeprefix("train/")
        guess = "min" if short.endswith(("loss", "error")) else "max"
        return dict(self.learner.modes).get(short, guess)


def places(cohorts: tuple[Cohort, ...]) -> list[tuple[int, int]]:
    """By member the cohort and the slot in it."""
    found = {int(i): (c, s) for c, own in enumerate(cohorts) for s, i in enumerate(own.id)}
    return [found[i] for i in sorted(found)]


def finish(
    plan: Plan,
    space: Space,
    cohorts: tuple[Cohort, ...],
    arguments: Arguments,
    outcome: Outcome,
) -> Sweep:
    """Makes the result of what a run left: joins the cohorts' histories by member."""
    place = {own: s for s, own in enumerate(sorted(int(i) for c in cohorts for i in c.id))}
    columns = [np.array([place[int(i)] for i in cohort.id]) for cohort in cohorts]
    records = [jax.device_get(own.record) for own in outcome.carry]
    history: dict[str, np.ndarray] = {}
    for own, record in zip(columns, records, strict=True):
        for name, values in record.metrics.items():
            shape = (outcome.rounds, len(place), *values.shape[2:])
            joined = history.setdefault(name, np.full(shape, np.nan, values.dtype))
            joined[:, own] = values[: outcome.rounds]
    refined: set[int] = set()
    for own, record in zip(columns, records, strict=True):
        refined.update(own[_changed(record, outcome.rounds)].tolist())
    data = None if arguments.data is None else arguments.data.arrays
    names = sorted(history, key=lambda name: (name.startswith("train/"), name))
    return Sweep(
        plan,
        space,
        cohorts,
        tuple(own.population for own in outcome.carry),
        {name: history[name] for name in names},
        int(arguments.seed),
        arguments.data,
        Timing(outcome.compile_seconds, outcome.run_seconds),
        None if data is None else {k: [list(v.shape[1:]), str(v.dtype)] for k, v in data.items()},
        frozenset(refined),
    )


def _changed(record: Record, rounds: int) -> np.ndarray:
    """[pop] whether a slot ever took another's state or other hyperparameters."""
    parents = record.parents[:rounds]
    changed = np.any(parents != np.arange(parents.shape[1]), axis=0)
    for values in record.hparams.values():
        changed |= np.any(values[:rounds] != values[0], axis=0)
    return changed


def prepare_alone(
    plan: Plan, cohort: CohortPlan, drawn: Cohort, seed: int, data: Data | None
) -> tuple[Plan, Arguments]:
    """The plan and arguments of one member's solo run."""
    refiner = Keep()
    alone = dataclasses.replace(cohort, size=1, rungs=refiner.rungs(1, plan.rounds))
    space = (program_space(drawn.combination.traced),)
    arguments = Arguments(np.uint32(seed), space, refiner, data)
    layout = dataclasses.replace(plan.layout, devices=1)
    alone_plan = dataclasses.replace(
        plan, cohorts=(alone,), layout=layout, arguments=describe(arguments)
    )
    return alone_plan, arguments


@jax.jit
def _pick(tree: PyTree, slot: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[slot], tree)


def _shown(value: Any) -> Any:
    """A choice for people: functions by name."""
    return getattr(value, "__name__", value) if callable(value) else value


def _import_pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError("Sweep.table() needs pandas: pip install 'vtune[plot]'") from None
    return pandas
