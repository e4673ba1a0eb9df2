"""`Sweep.retrain`: the winners of a search again, over fresh seeds, as one program."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.data.dataset import Data
from vtune.engine.carry import Trajectory
from vtune.engine.replicates import Replicates
from vtune.results.beginnings import begun_with
from vtune.results.evaluation import Evaluation
from vtune.results.given_data import check_repeats, folds_of, usable_data
from vtune.results.member import Member
from vtune.results.no_score import finished
from vtune.results.rerun import cohort_at_start, plan_again, trajectory_of
from vtune.results.table import html_of, import_pandas, spread
from vtune.results.trained import Trained, finish
from vtune.runtime.execute import execute
from vtune.search.base import Cohort
from vtune.validation import check_count, is_whole

if TYPE_CHECKING:
    import pandas


class Retrained:
    """The winners of a search, trained again over fresh seeds.

    Attributes:
      sweep: the new `Sweep`; its member i is the winner `members[i]`, trained once a seed.
      members: the winners' numbers in the search, in the order of their scores there.
      searched: [winners] the scores that they won with; the best of many, so on the whole too good.
      test: what they score on the test rows, an `Evaluation`; None where there are none.
    """

    def __init__(
        self, sweep: Any, members: tuple[int, ...], searched: np.ndarray, test: Evaluation | None
    ):
        self.sweep = sweep
        self.members = members
        self.searched = searched
        self.test = test

    def table(self) -> pandas.DataFrame:
        """One row per winner, the best mean first.

        For the metric `m` of the search: `m` and `m/std`, mean and standard deviation over the
        seeds (and folds; divided by n) on the validation rows; `test/m` and `test/m/std` on the
        test rows, if there are; `searched`, the score in the search; the hyperparameters.

        Raises:
          ImportError: pandas is not installed (the extra `plot`).
        """
        pandas = import_pandas("Retrained.table()")
        trained, table = self.sweep.trained, self.sweep.table()
        metric, std = trained.metric_name, f"{trained.metric_name}/std"
        columns = {metric: table[metric], std: spread(trained, metric).get(std, 0.0)}
        if self.test is not None:
            tested = self.test.table()
            columns |= {f"test/{name}": tested[name] for name in (metric, std) if name in tested}
        columns["searched"] = self.searched
        for name in trained.space.names:
            shown = f"hparams/{name}" if f"hparams/{name}" in table else name
            columns[f"hparams/{name}" if shown in columns else shown] = table[shown]
        index = pandas.Index(self.members, name="member")
        return pandas.DataFrame(columns).set_index(index).iloc[self.sweep.ranking]

    def _repr_html_(self) -> str | None:
        return html_of(self.table)

    def __repr__(self) -> str:
        replicates = self.sweep.trained.plan.replicates
        times = 1 if replicates is None else replicates.seeds
        return f"Retrained(members {list(self.members)}, {times} seeds, {self.sweep!r})"


def retrain(
    trained: Trained, top: Any, seeds: Any, seed: Any, data: Data | None
) -> tuple[Trained, tuple[int, ...]]:
    """Trains the best members again; see `Sweep.retrain`. Returns the record, and the winners."""
    trained.check_whole()
    check_count("retrain: top", top)
    check_count("retrain: seeds", seeds)
    seed = (trained.seed + 1) % 2**32 if seed is None else seed
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"retrain: seed={seed!r} must be a whole number from 0 to 2**32 - 1")
    if seed == trained.seed:
        raise ValueError(
            f"retrain: seed={seed} is the search's own, with which the winners won; give another"
        )
    winners = _winners(trained, top)
    data = usable_data("retrain", trained, data)
    check_repeats("retrain", data)
    cohorts, numbers, trajectory = _cohorts(trained, winners)
    folds, folded = folds_of(trained) or 1, folds_of(trained) is not None
    replicates = Replicates(folds, int(seeds), folded) if folded or seeds > 1 else None
    weights = begun_with("retrain", trained, winners)
    plan, arguments = plan_again(
        trained, cohorts, numbers, int(seed), data, trajectory, weights, replicates=replicates
    )
    whole = (dataclasses.replace(cohort, past=(), stretched=False) for cohort in plan.cohorts)
    plan = dataclasses.replace(plan, cohorts=tuple(whole))
    outcome = execute(plan, cohorts, arguments).complete()
    ids = tuple(Member(trained, column).index for column in winners)
    return finish(plan, trained.space, cohorts, arguments, outcome), ids


def _winners(trained: Trained, top: int) -> list[int]:
    """Returns the columns of the best members, of those that trained longest."""
    columns = finished(trained, "retrain")
    if len(columns) < top:
        raise ValueError(
            f"retrain: top={top}, but {len(columns)} members trained to the end with a finite "
            f"{trained.metric_name}; give at most {len(columns)}"
        )
    return columns[:top]


def _cohorts(
    trained: Trained, winners: list[int]
) -> tuple[tuple[Cohort, ...], list[int], Trajectory | None]:
    """Returns the winners as new cohorts, the numbers of their old ones, and what they lived
    through where their hyperparameters changed."""
    numbers = sorted({trained.places[column][0] for column in winners})
    lived = [trained.lived_settings(column) for column in winners]
    changed = any((values != values[-1]).any() for one in lived for values in one.values())
    if changed and len(numbers) > 1:
        raise ValueError(
            "retrain: the winners' hyperparameters changed between rounds, and they are of "
            f"{len(numbers)} structures; take fewer (top=1), or train each schedule by itself: "
            "vt.replay(learner, data, sweep.schedule(i), seed=...)"
        )
    cohorts = []
    for number in numbers:
        of = [i for i, column in enumerate(winners) if trained.places[column][0] == number]
        names = dict(trained.plan.cohorts[number].traced)
        hparams = {
            name: np.asarray([trained.traced(winners[i])[name] for i in of], dtype)
            for name, dtype in names.items()
        }
        cohorts.append(
            Cohort(trained.cohorts[number].combination, np.asarray(of, np.int32), hparams)
        )
    if not changed:
        return tuple(cohorts), numbers, None
    each = [
        trajectory_of(np.full(trained.rounds, i), one, trained.plan.rounds)
        for i, one in enumerate(lived)
    ]
    together = Trajectory(
        np.concatenate([one.id for one in each], axis=1),
        {k: np.concatenate([one.hparams[k] for one in each], axis=1) for k in each[0].hparams},
    )
    return (cohort_at_start(cohorts[0], together),), numbers, together
