"""One training of a sweep, as a user sees it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from vtune.data.dataset import apply_scaling
from vtune.engine.replicates import Replicates, split_replicates
from vtune.results.predict import checked_rows, predict
from vtune.types import PyTree

if TYPE_CHECKING:
    from vtune.results.sweep import Sweep


class Member:
    """One training of a sweep.

    Attributes:
      index: its number in the first population.
      hparams: its hyperparameters as plain Python values.
      score: the value of the sweep's metric with the weights it holds: the last, before it was
        dropped if it was, or the best with keep="best"; NaN where it diverged.
      status: "completed"; "completed after round N", its own number of epochs; "stopped after
        round N", for its score had not improved for so long; "dropped after round N" by the
        refiner; "diverged at step N", steps counted from 0: the first whose metrics were not
        finite, or a round's last where only the weights were not; after Ctrl-C "interrupted after
        round N".
      history: metric by name, each [rounds, ...].
    """

    def __init__(self, sweep: Sweep, index: int):
        self._sweep = sweep
        self._column = index
        self._place = sweep._places[index]
        cohort, slot = self._place
        self.index = int(np.asarray(sweep._populations[cohort].id)[slot])

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
        name, last = self._sweep.metric_name, self._sweep._records.ends[self._column] - 1
        value = float(self._sweep.history[name][last, self._column])
        return np.nan if self._died >= 0 else value

    @property
    def status(self) -> str:
        if self._died >= 0:
            return f"diverged at step {self._died}"
        stopped = int(self._sweep._records.stopped[self._column])
        if stopped >= 0:
            budget = int(self._sweep._records.budgets[self._column])
            if stopped + 1 < budget:
                return f"stopped after round {stopped}"
            whole = budget == self._sweep._plan.rounds
            return "completed" if whole else f"completed after round {stopped}"
        done, planned = self._sweep._rounds, self._sweep._plan.rounds
        if self._dropped:
            return f"dropped after round {self._sweep._lived[self._column] - 1}"
        return "completed" if done == planned else f"{self._sweep._stopped} after round {done - 1}"

    @property
    def _died(self) -> int:
        cohort, slot = self._place
        return int(np.asarray(self._sweep._populations[cohort].died)[slot])

    @property
    def _dropped(self) -> bool:
        return bool(self._sweep._lived[self._column] < self._sweep._rounds)

    @property
    def history(self) -> dict[str, np.ndarray]:
        return {name: values[:, self._column] for name, values in self._sweep.history.items()}

    @property
    def state(self) -> PyTree:
        """The learner's whole state, optimizer state included.

        Raises:
          ValueError: the member was dropped, and its state with it.
        """
        if self._dropped:
            raise ValueError(
                f"member {self.index} was {self.status}, and its weights with it; "
                f"sweep.rerun({self.index}) trains it again up to there"
            )
        cohort, slot = self._place
        return pick(self._sweep._populations[cohort].state, slot, self.trainings)

    @property
    def trainings(self) -> Replicates | None:
        """Its folds and seeds; None where it is a single training."""
        return self._sweep._plan.replicates

    @property
    def variables(self) -> PyTree:
        """What the model is applied with: for linen `model.apply(member.variables, x)`. Of several
        folds or seeds every leaf is `[folds, seeds, ...]`."""
        show = self._sweep.learner.variables
        if show is None:
            return self.state
        return (show if self.trainings is None else jax.vmap(jax.vmap(show)))(self.state)

    def predict(self, x: Any) -> PyTree:
        """The model's outputs `[rows, ...]` for an array (the entry `x`) or a dict of arrays.

        Entries that were scaled in training (`vt.standardize`) are scaled here in the same way. Of
        several folds or seeds each training predicts: `[folds, seeds, rows, ...]`.
        """
        batch, scaling = checked_rows(x, self._sweep._rows or {}), self._sweep._scaling
        trainings = self.trainings
        if trainings is None:
            return self._outputs(apply_scaling(scaling, batch))
        state, outputs = self.state, []
        for fold, repeat in np.ndindex(trainings.folds, trainings.seeds):
            how = scaling
            if trainings.folded:
                how = {name: (a[fold], b[fold]) for name, (a, b) in scaling.items()}
            rows = apply_scaling(how, batch)
            outputs.append(self._outputs(rows, pick(pick(state, fold), repeat)))
        return jax.tree.map(
            lambda *parts: split_replicates(trainings, jax.numpy.stack(parts)), *outputs
        )

    def _outputs(self, batch: dict[str, np.ndarray], state: PyTree = None) -> PyTree:
        """The model's outputs for arrays as in training; of one training, if its state
        is given."""
        cohort, slot = self._place
        plan, sweep = self._sweep._plan.cohorts[cohort], self._sweep
        traced = {k: v[slot] for k, v in sweep._populations[cohort].hparams.items()}
        size = sweep._plan.eval_batch_size
        state = self.state if state is None else state
        return predict(sweep.learner, plan, traced, state, batch, size)

    def __repr__(self) -> str:
        return (
            f"Member({self.index}, {self._sweep.metric_name}={self.score:.4g}, {self.status}, "
            f"{ ({name: shown(value) for name, value in self.hparams.items()}) })"
        )


@functools.partial(jax.jit, static_argnums=2)
def pick(tree: PyTree, slot: Any, trainings: Replicates | None = None) -> PyTree:
    """One slot's part of a population; of several trainings each leaf is [folds, seeds, ...]."""
    own = jax.tree.map(lambda leaf: leaf[slot], tree)
    return (
        own
        if trainings is None
        else jax.tree.map(lambda leaf: split_replicates(trainings, leaf), own)
    )


def shown(value: Any) -> Any:
    """A choice for people: functions by name."""
    return getattr(value, "__name__", value) if callable(value) else value
