"""What a sweep leaves: members, history, table. On the host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Arguments, EarlierRun
from vtune.engine.early_stopping import final_population
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.engine.recording import SPLITS
from vtune.learner.protocol import Learner
from vtune.results.history import Records, join
from vtune.results.member import Member, shown
from vtune.results.schedule import Schedule
from vtune.results.trained import Timing, places
from vtune.runtime.execute import Outcome
from vtune.search.base import Cohort
from vtune.space.space import Space
from vtune.types import PyTree
from vtune.validation import is_whole

if TYPE_CHECKING:
    import pandas

    from vtune.results.ensemble import Ensemble


class Sweep:
    """A trained population, its history and its settings.

    Attributes:
      history: metric by name, `[rounds, members, ...]`; NaN from the round a member diverged
        in, or after the one it was dropped after. Of several folds or seeds it is the mean, and
        `history["<name>/splits"]` has each, `[rounds, members, folds, seeds, ...]`. Metrics of
        the training steps are under `train/<name>`, the round's mean.
      settings: traced hyperparameters by name, `[rounds, members]`, as trained with in each round.
      parents: `[rounds, members]`, the member whose weights each went on from; -1 once dropped.
      metric_name, mode: what members are compared by ("score" where `metric=` is a function).
      space: the checked space. learner, seed, timing: as run.
    """

    def __init__(
        self,
        plan: Plan,
        space: Space,
        cohorts: tuple[Cohort, ...],
        populations: tuple[Population, ...],
        records: Records,
        seed: int,
        data: Data | None,
        timing: Timing,
        rows: dict[str, Any] | None,
        stopped: str = "interrupted",
        weights: PyTree = None,
        scaling: dict[str, Any] | None = None,
        refiner: Any = None,
        memories: tuple[PyTree, ...] | None = None,
    ):
        self._plan = plan
        self._cohorts = cohorts
        self._populations = populations
        self._places = places(populations)
        self._records = records
        self._lived = records.lived
        self._rows = rows  # by entry of the data: [shape of a row, type], for load
        self._stopped = stopped  # what happened where fewer rounds were run than planned
        self.space = space
        self.history = records.history
        self.settings = records.settings
        self.parents = records.parents
        self.seed = seed
        self.data = data
        self._weights = weights  # that all started from, if from elsewhere
        self._scaling = scaling or {}  # of entries of the data, for predict
        # For tune(start=): the refiner, and by cohort what it remembers; None of a loaded sweep.
        self._refiner = refiner
        self._memories = memories
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
        """[members] last scores, higher is better, -inf where there is no finite one."""
        scores = np.full(len(self), -np.inf)
        for column, (cohort, slot) in enumerate(self._places):
            scores[column] = np.asarray(self._populations[cohort].score)[slot]
        return scores

    @property
    def ranking(self) -> np.ndarray:
        """[members] their indices from best to worst: those that trained longest come first,
        each group by last score, diverged ones last of their group."""
        return np.lexsort((-self.scores, -self._lived))

    @property
    def best(self) -> Member:
        """The member with the best last score, of those that trained to the end.

        Raises:
          ValueError: every member diverged or has no finite score.
        """
        best = int(self.ranking[0])
        if not np.isfinite(self.scores[best]):
            whole = np.flatnonzero(self._lived == self._rounds)
            which = "" if len(whole) == len(self) else " that trained to the end"
            raise ValueError(
                f"no member{which} has a finite {self.metric_name} (the first: "
                f"{self[int(whole[0])].status}); "
                "see sweep.table(), try smaller learning rates, and check that labels and "
                "inputs are in range"
            )
        return self[best]

    def predict(self, x: Any, member: int | None = None) -> PyTree:
        """The best member's outputs, or another's; see `Member.predict`."""
        return (self.best if member is None else self[member]).predict(x)

    def ensemble(
        self,
        kind: int | str = "best",
        k: int | None = None,
        *,
        combine: str = "outputs",
        data: Data | None = None,
    ) -> Ensemble:
        """Members whose averaged outputs predict: `ensemble(5)`, `ensemble("greedy", 8)`.

        Args:
          kind: "best" takes the k best by their last scores; "greedy" takes, up to k times and
            with replacement, the member that helps the metric on the validation rows most
            (Caruana et al. 2004). k: how many; a number alone is of the best.
          combine: "outputs" averages them as they are; "probabilities" those that logits stand for,
            and gives their logarithms.
          data: only for a loaded sweep, which does not hold its data.

        Raises:
          ValueError: an unknown kind, more members than there are, a loaded sweep without data=.
        """
        from vtune.results.ensemble import ensemble

        return ensemble(self, kind, k, combine, data)

    def table(self) -> pandas.DataFrame:
        """A row a member: hyperparameters, last and best values, status.

        For a metric `m` the columns are `m` (with the weights it holds: the last, before it was
        dropped, or those of the best score with keep="best"), `m/best` and
        `m/best_round` (counted from 0, the row of the history; -1 where there never was a value).
        Of several folds or seeds they are means; `m/std` is their standard deviation (over n, as
        scikit-learn's), `m/se` the standard error of the mean, and for the metric that members are
        compared by each value is under `m/fold<i>/seed<j>`. Folds share training rows, so the
        standard error is too small by an unknown part (Bengio and Grandvalet 2004).
        Choices that are functions are shown by name. A hyperparameter called like a metric is
        under `hparams/<name>`.
        Needs the extra `plot`.
        """
        pandas = _import_pandas()
        taken = {*self.history, "status"}
        settings = [member.hparams for member in self.members]
        columns: dict[str, Any] = {
            f"hparams/{name}" if name in taken else name: [shown(s.get(name)) for s in settings]
            for name in self.space.names
        }
        for name, values in self.history.items():
            if values.ndim == 2:
                columns[name] = values[self._records.ends - 1, np.arange(len(self))]
                columns[f"{name}/best"], columns[f"{name}/best_round"] = self._peak(name, values)
                columns |= self._spread(name)
        columns["status"] = [member.status for member in self.members]
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(self), name="member"))

    def lineage(self, index: int) -> np.ndarray:
        """Whose weights a member carries: [rounds], the member that they stood in, round by round.

        The last is the member itself. `history[name][round, lineage[round]]` is what these
        weights went through. Of a dropped member, up to the round it was dropped after.
        """
        return self._records.lineage(self[index]._column)

    def schedule(self, index: int) -> Schedule:
        """The hyperparameters that a member's weights lived through: by name, of every round.

        `vt.replay(learner, data, schedule, seed=...)` trains a fresh member on it.
        """
        from vtune.results.rerun import schedule_of

        return schedule_of(self, index)

    def rerun(self, index: int, data: Data | None = None) -> Member:
        """Trains one member's weights again, alone, with their keys, rows and hyperparameters.

        Where a refiner moved them from slot to slot, along their lineage: in each round with the
        key and the hyperparameters of the member they stood in. A dropped member is trained up
        to the round it was dropped after.

        Args:
          data: only for a loaded sweep, which does not hold its data.

        Raises:
          IndexError: no such member. ValueError: a loaded sweep without data=.
        """
        from vtune.results.rerun import rerun

        return rerun(self, index, data)

    @property
    def n_candidates_(self) -> list[int]:
        """Members trained in each rung, by scikit-learn's name; one number for plain search."""
        return [size for size, _ in self._rungs]

    @property
    def n_resources_(self) -> list[int]:
        """Rounds that a member had been trained for by the end of each rung, from the start."""
        return [end for _, end in self._rungs]

    @property
    def _rungs(self) -> list[tuple[int, int]]:
        """(members, rounds by its end) of every rung, all cohorts together."""
        alive = np.sum(self.parents >= 0, axis=1)
        last = np.flatnonzero(np.diff(alive, append=-1))
        return [(int(alive[number]), int(number) + 1) for number in last]

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes the sweep to a folder: settings, history and every member's state.

        The data are not written. `vt.load(path, learner)` reads it again.

        Raises:
          FileExistsError (a ValueError too): something is there and overwrite is not given.
        """
        from vtune.results.files import save

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
        """Best finite value and its round, by column; NaN and -1 where there is none."""
        sign = 1.0 if self._mode_of(name) == "max" else -1.0
        finite = np.where(np.isfinite(values), values, np.nan)
        rounds = np.where(np.isnan(finite), -np.inf, sign * finite).argmax(axis=0)
        best = finite[rounds, np.arange(values.shape[1])]
        return best, np.where(np.isnan(best), -1, rounds)

    def _spread(self, name: str) -> dict[str, np.ndarray]:
        """How a metric's last values differ between folds and seeds, by column; nothing where
        members are single trainings."""
        each = self.history.get(name + SPLITS)
        if each is None or each.ndim != 4:
            return {}
        last = each[self._records.ends - 1, np.arange(len(self))].astype(np.float64)
        count = last[0].size
        std = last.reshape(len(self), count).std(axis=1)
        columns = {
            f"{name}/std": std,
            f"{name}/se": std / np.sqrt(count - 1) if count > 1 else np.full(len(self), np.nan),
        }
        if name == self.metric_name:
            for fold, repeat in np.ndindex(*last.shape[1:]):
                columns[f"{name}/fold{fold}/seed{repeat}"] = last[:, fold, repeat]
        return columns

    def _mode_of(self, name: str) -> str:
        if name == self.metric_name:
            return self.mode
        short = name.removeprefix("train/")
        guess = "min" if short.endswith(("loss", "error")) else "max"
        return dict(self.learner.modes).get(short, guess)


def finish(
    plan: Plan,
    space: Space,
    cohorts: tuple[Cohort, ...],
    arguments: Arguments,
    outcome: Outcome,
    stopped: str = "interrupted",
    past: EarlierRun | None = None,
) -> Sweep:
    """Makes the result of what a run left; `past` is what a sweep that went on was before."""
    data = None if arguments.data is None else arguments.data.arrays
    return Sweep(
        plan,
        space,
        cohorts,
        tuple(final_population(plan, own.population) for own in outcome.carry),
        join(plan, cohorts, outcome.carry, outcome.rounds, past),
        int(arguments.seed),
        arguments.data,
        Timing(outcome.compile_seconds, outcome.run_seconds),
        None if data is None else {k: [list(v.shape[1:]), str(v.dtype)] for k, v in data.items()},
        stopped,
        arguments.weights,
        None if arguments.data is None else arguments.data.scaling,
        arguments.refiner,
        tuple(own.memory for own in outcome.carry),
    )


def _import_pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError("Sweep.table() needs pandas: pip install 'vtune[plot]'") from None
    return pandas
