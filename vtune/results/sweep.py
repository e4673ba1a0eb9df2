"""`Sweep`, the result of a run as a user sees it: a thin wrapper around the record `Trained`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.data.dataset import Data
from vtune.learner.protocol import Learner
from vtune.results.ensemble import Ensemble, ensemble
from vtune.results.evaluation import Evaluation, evaluate
from vtune.results.files import write
from vtune.results.looked_for import no_such_name
from vtune.results.member import Member
from vtune.results.named import Named
from vtune.results.no_score import no_finite_score
from vtune.results.pareto import pareto
from vtune.results.pickling import pickled, unpickled_record
from vtune.results.plotting import plots_of, to_optuna, write_report
from vtune.results.rerun import rerun
from vtune.results.retrain import Retrained, retrain
from vtune.results.schedule import Schedule, schedule
from vtune.results.summary import summary
from vtune.results.table import best_rows, html_of, table
from vtune.results.trained import Timing, Trained
from vtune.runtime import processes
from vtune.space.space import Space
from vtune.target import is_first_process
from vtune.types import PyTree
from vtune.validation import check_count, is_whole

if TYPE_CHECKING:
    import pandas


class Sweep:
    """A trained population, its history and its settings.

    Attributes:
      history: metric by name, `[rounds, members, ...]`; NaN from the round in which a member
        diverged, and in the rounds after it was dropped. With several folds or seeds it is the
        mean, and `history["<name>/splits"]` holds all values, `[rounds, members, folds, seeds,
        ...]`. Metrics of the training steps are under `train/<name>`, as means over the round.
      settings: traced hyperparameters by name, `[rounds, members]`, as trained with in each round.
      parents: `[rounds, members]`, the member whose weights a member continued; -1 once dropped.
      metric_name, mode: what members are compared by ("score" where `metric=` is a function).
      space: the checked space. learner, seed, data: as run. timing: seconds of compiling, running.
      trained: the plain record of all of it, whose fields may change between versions.
    """

    plot = property(plots_of)
    report = write_report
    to_optuna = to_optuna

    def __init__(self, trained: Trained):
        self.trained = trained

    @property
    def history(self) -> dict[str, np.ndarray]:
        return Named(self.trained.records.history)

    @property
    def settings(self) -> dict[str, np.ndarray]:
        return Named(self.trained.records.settings)

    @property
    def parents(self) -> np.ndarray:
        return self.trained.records.parents

    @property
    def metric_name(self) -> str:
        return self.trained.metric_name

    @property
    def mode(self) -> str:
        return self.trained.plan.mode

    @property
    def space(self) -> Space:
        return self.trained.space

    @property
    def learner(self) -> Learner:
        return self.trained.plan.learner

    @property
    def seed(self) -> int:
        return self.trained.seed

    @property
    def data(self) -> Data | None:
        return self.trained.data

    @property
    def timing(self) -> Timing:
        return self.trained.timing

    def __len__(self) -> int:
        return len(self.trained.places)

    def __getitem__(self, index: int) -> Member:
        return Member(self.trained, self._column(index))

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every member, in the order of the first population."""
        return tuple(Member(self.trained, column) for column in range(len(self)))

    @property
    def scores(self) -> np.ndarray:
        """[members] last scores, higher is better, -inf where there is no finite one."""
        return self.trained.scores

    @property
    def ranking(self) -> np.ndarray:
        """[members] their indices from best to worst.

        Members that trained longest come first, each group by last score, diverged ones last.
        """
        return self.trained.ranking

    @property
    def best(self) -> Member:
        """The member with the best last score, of those that trained to the end.

        Raises:
          ValueError: every member diverged or has no finite score.
        """
        reason = no_finite_score(self.trained)
        if reason is not None:
            raise ValueError(reason)
        return self[int(self.ranking[0])]

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
            (Caruana et al. 2004).
          k: how many members. `ensemble(5)` is short for `ensemble("best", 5)`.
          combine: "outputs" averages the outputs as they are; "probabilities" averages the
            probabilities that they are logits of, and predicts the logarithms of these averages.
          data: only for a loaded sweep, which does not hold its data.

        Raises:
          TypeError, ValueError: an unknown kind, more members than there are, a loaded sweep
            without data=, or other data than the sweep was trained on.
        """
        return ensemble(self.trained, kind, k, combine, data)

    def table(self) -> pandas.DataFrame:
        """One row per member: hyperparameters, last and best values, status.

        The metric that members are compared by comes first. For a metric `m` the columns are `m`
        (with the weights that the member holds: those of its last round, or of its best with
        keep="best"), `m/best` and `m/best_round` (counted from 0, the row of the history; -1 where
        there never was a value); these two only where it is known whether higher is better.
        With several folds or seeds these are means. `m/std` is the standard deviation over folds
        and seeds (divided by n, as scikit-learn's), `m/se` the standard error of the mean. For the
        metric that members are compared by, the values are under `m/fold<i>/seed<j>`. Folds share
        training rows, so the standard error is too small by an unknown factor (Bengio and
        Grandvalet 2004).
        Where members were drawn by generations, `generation` says which.
        Choices that are functions are shown by name. A hyperparameter with the name of a metric is
        under `hparams/<name>`.

        Raises:
          ImportError: pandas is not installed (the extra `plot`).
        """
        return table(self.trained)

    def top(self, n: int = 5) -> pandas.DataFrame:
        """The n best members, the best first: the columns of `table()` to read; see `ranking`.

        The metric that members are compared by and its standard deviation over folds and seeds,
        the hyperparameters, the last values of the other validation metrics, the status.

        Raises:
          ImportError: pandas is not installed (the extra `plot`).
        """
        check_count("top: n", n)
        return best_rows(self.trained, n)

    def pareto(self, *names: str, modes: Mapping[str, str] | None = None) -> pandas.DataFrame:
        """The members that no other dominates: as good in all of `names`, and better in one.

            sweep.pareto("accuracy", "params")  # what does a point of accuracy cost?

        The columns of `table()` to read, as in `top`, the best in the first name first. Members
        that diverged or have no finite value are left out.

        Args:
          names: two or more columns of `table()`, or costs, which each cohort has one of: "params",
            the numbers that one training learns; "flops", the floating-point operations of its
            step as XLA counts them; "step_seconds", the seconds of its step, alone on one device,
            which are measured now. Left out: the sweep's own objectives, else those of `vt.NSGA2`.
          modes: "max" or "min" by name, where it is not known, such as {"width": "min"}.

        Raises:
          TypeError, ValueError: no such column, one name only, or whether higher is better is not
            known; costs of a sweep that was read without its learner.
          ImportError: pandas is not installed (the extra `plot`).
        """
        return pareto(self.trained, names, modes)

    def summary(self) -> str:
        """What was run and what came of it, in about ten lines to print: the best setting and its
        spread over folds and seeds, who diverged, was dropped or stopped, edges of the ranges."""
        return summary(self.trained)

    def evaluate(self, data: Any = None) -> Evaluation:
        """Scores every member on rows that it was neither trained on nor chosen by.

            data = vt.holdout({"x": x, "y": y}, test=0.1)
            sweep = vt.tune(learner, space, data, metric="accuracy")
            sweep.evaluate()["accuracy"][sweep.best.index]

        Choose by the validation rows and look at the test rows last: the best of many members on
        the test rows is chosen by them.

        Args:
          data: None for the test rows of the sweep's data; data whose test rows are meant; or
            arrays by name, all entries that were trained on, labels too. They are scaled as in
            training.

        Returns:
          Every metric of the learner by name, `[members, ...]`, computed in one program; NaN for
          members that diverged or hold no weights.

        Raises:
          TypeError, ValueError: there are no test rows, an entry is missing or of another shape
            or type, numbers are beyond it, labels out of range, or a loaded sweep without data;
            data that are those trained on, split in another way, so that training saw the rows.
        """
        return evaluate(self.trained, data)

    def retrain(
        self, top: int = 3, seeds: int = 10, *, seed: int | None = None, data: Data | None = None
    ) -> Retrained:
        """Trains the best members again, each over fresh seeds, as one program.

            winners = sweep.retrain(top=3, seeds=10)
            winners.table()  # mean and standard deviation, on the test rows too

        The score that a member won with is the best of many, so too good; its seed is one of many,
        too. Everything else is as in the search: data, epochs, metric. Where a refiner changed a
        winner's hyperparameters, it is trained on the schedule that its weights went through.

        Args:
          top: how many of the best members, by `ranking`.
          seeds: how often each is trained.
          seed: decides weights, order of rows, and noise; the search's plus 1 when left out.
          data: only for a loaded sweep, which does not hold its data.

        Raises:
          TypeError, ValueError: an argument cannot work, fewer members have a finite score, or the
            winners of a refined sweep are of several structures.
        """
        trained, members = retrain(self.trained, top, seeds, seed, data)
        test = None
        if trained.data is not None and trained.data.test is not None:
            test = evaluate(trained, None)
        by_member = {member.index: member.score for member in self}
        searched = np.array([by_member[index] for index in members])
        return Retrained(Sweep(trained), members, searched, test)

    def lineage(self, index: int) -> np.ndarray:
        """Whose weights a member carries: [rounds], the member that held them in each round.

        The last is the member itself. `history[name][round, lineage[round]]` is what these
        weights went through. For a dropped member, up to the round it was dropped after.
        """
        return self.trained.records.lineage(self._column(index))

    def schedule(self, index: int) -> Schedule:
        """The hyperparameters that a member's weights were trained with, by name, of every round.

        `vt.replay(learner, data, schedule, seed=...)` trains a new member with it.
        """
        return schedule(self.trained, self._column(index))

    def rerun(self, index: int, data: Data | None = None) -> Member:
        """Trains one member's weights again, alone, with their keys, rows and hyperparameters.

        Where a refiner moved the weights from slot to slot, the run follows their lineage: every
        round uses the key and the hyperparameters of the member that held the weights then. A
        dropped member is trained up to the round it was dropped after.

        Args:
          data: only for a loaded sweep, which does not hold its data.

        Raises:
          IndexError: no such member. ValueError: a loaded sweep without data=.
        """
        return rerun(self.trained, self._column(index), data)

    @property
    def n_candidates_(self) -> list[int]:
        """Members trained in each rung, by scikit-learn's name; one number for plain search."""
        return [members for members, _ in self.trained.records.rungs]

    @property
    def n_resources_(self) -> list[int]:
        """Rounds that a member had been trained for by the end of each rung, from the start."""
        return [rounds for _, rounds in self.trained.records.rungs]

    def save(self, path: str | os.PathLike, overwrite: bool = False, frozen: bool = True) -> None:
        """Writes the sweep to a folder: settings, history and every member's state.

        What members share (`vt.tune(frozen=)`) is written once, or with `frozen=False` only its
        checksum; `vt.load(path, learner, init_from=weights)` then needs it. The data are not
        written. `vt.load(path, learner)` reads it again. Under `jax.distributed` all processes
        must save; the first one writes.

        Raises:
          FileExistsError (a ValueError too): the folder holds a saved sweep and overwrite is not
            given, or it holds something else.
          RuntimeError: under `jax.distributed` another process did not save too, or failed.
        """
        first = is_first_process()
        trained = self.trained.with_states_here("save", keep=first)
        with processes.together("save", long=True):
            if first:
                write(trained, path, overwrite, frozen)

    def __reduce__(self) -> Any:
        return unpickled, (pickled(self.trained),)

    def __copy__(self) -> Sweep:
        return Sweep(self.trained)

    def __deepcopy__(self, memo: Any) -> Sweep:
        return Sweep(self.trained)  # the record is not changed by anybody

    def __repr__(self) -> str:
        best = self[int(self.ranking[0])]
        size = f"{len(self)} members, {self.trained.rounds} rounds"
        return f"Sweep({size}, best {self.metric_name} {best.score:.4g})"

    def _repr_html_(self) -> str | None:
        return html_of(lambda: self.top(10))

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):  # a property failed: its own error says why
            return object.__getattribute__(self, name)
        raise AttributeError(no_such_name(type(self), name))

    def _column(self, index: int) -> int:
        """The column of a member; a negative index counts from the end."""
        if not is_whole(index):
            raise TypeError(
                f"a sweep is indexed by one number, got {index!r}; for several members write "
                "sweep.members[:3]"
            )
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"there is no member {index}: the sweep has {len(self)}, counted from 0"
            )
        return int(index) % len(self)


def unpickled(record: bytes) -> Sweep:
    """Returns the sweep of a pickled record."""
    return Sweep(unpickled_record(record))
