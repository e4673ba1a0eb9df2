"""Members: one training of a sweep, as a user sees it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.engine.replicates import Replicates, split_replicates
from vtune.identity import handed_out
from vtune.learner.frozen import sharing
from vtune.learner.protocol import Learner
from vtune.results.looked_for import no_such_name
from vtune.results.named import Named
from vtune.results.predict import checked_rows, predict, scaled_rows
from vtune.results.trained import Trained
from vtune.search.base import Cohort
from vtune.space.space import Space
from vtune.types import PyTree


class Member:
    """One training of a sweep.

    Attributes:
      index: its number in the first population.
      hparams: its hyperparameters as plain Python values.
      score: the value of the sweep's metric with the weights that the member holds: those of its
        last round, or of its best with keep="best"; NaN where it diverged.
      status: "completed"; "completed after round N", its own number of epochs; "stopped after
        round N", since its score had not improved for `patience` rounds; "dropped after round N"
        by the refiner; "diverged at step N", steps counted from 0: the first step whose metrics
        were not finite, or a round's last where only the weights were not; after Ctrl-C
        "interrupted after round N", "timeout after round N" where `timeout=` ended the sweep, and
        "stopped after round N" where a callback did.
      history: metric by name, each [rounds, ...].
      record: of the whole sweep, `Sweep.trained`.
    """

    def __init__(self, trained: Trained, column: int):
        self.record = trained
        self._column = column
        self._cohort, self._slot = trained.places[column]
        self.index = int(np.asarray(trained.populations[self._cohort].id)[self._slot])

    @property
    def hparams(self) -> dict[str, Any]:
        trained, hparams = self.record, self.record.populations[self._cohort].hparams
        return Named(setting(trained.space, trained.cohorts[self._cohort], hparams, self._slot))

    @property
    def score(self) -> float:
        if self._diverged_at >= 0:
            return np.nan
        rounds, columns = self.record.last_trained
        values = self.record.records.history[self.record.metric_name]
        return float(values[rounds[self._column], columns[self._column]])

    @property
    def status(self) -> str:
        if self._diverged_at >= 0:
            return f"diverged at step {self._diverged_at}"
        trained, column = self.record, self._column
        done, planned = trained.rounds, trained.plan.rounds
        stopped = int(trained.records.stopped[column])
        if stopped >= 0:
            budget = int(trained.records.budgets[column])
            if stopped + 1 < budget:
                return f"stopped after round {stopped}"
            return "completed" if budget == planned else f"completed after round {stopped}"
        if trained.dropped(column):
            return f"dropped after round {trained.lived[column] - 1}"
        return "completed" if done == planned else f"{trained.stopped} after round {done - 1}"

    @property
    def _diverged_at(self) -> int:
        return int(np.asarray(self.record.populations[self._cohort].died)[self._slot])

    @property
    def history(self) -> dict[str, np.ndarray]:
        recorded = self.record.records.history
        return Named({name: values[:, self._column] for name, values in recorded.items()})

    @property
    def state(self) -> PyTree:
        """The learner's whole state, optimizer state included.

        Under `jax.distributed` every process has that of the best member; another's lies on the
        devices that trained it, and all processes must ask for it, in the same order.

        Raises:
          ValueError: the member was dropped, and its state with it, or the sweep was read without
            its weights.
          RuntimeError: another process did not ask for it in time.
        """
        self.record.check_whole()
        if not self.record.has_state(self._column):
            raise ValueError(
                f"member {self.index} was {self.status}, and its weights with it; "
                f'sweep.rerun({self.index}) trains it again up to that round, and keep="best" '
                "keeps the best weights of every member"
            )
        return pick(*self.record.state_of(self._column), self.trainings)

    @property
    def trainings(self) -> Replicates | None:
        """How many folds and seeds the member was trained on; None for a single training."""
        return self.record.plan.replicates

    @property
    def variables(self) -> PyTree:
        """What the model is applied with: for linen `model.apply(member.variables, x)`.

        With several folds or seeds every leaf is `[folds, seeds, ...]`.
        """
        self.record.check_whole()
        return self._variables(sharing(self.record.plan.learner, self.record.weights))

    @property
    def trained(self) -> PyTree:
        """`variables` without those that all members share, see `vt.tune(frozen=)`."""
        self.record.check_whole()
        own = self._variables(self.record.plan.learner)
        return unflatten_dict(flatten_dict(own)) if isinstance(own, dict) else own

    def _variables(self, learner: Learner) -> PyTree:
        variables = learner.variables
        if variables is None:
            return self.state
        if self.trainings is not None:
            variables = jax.vmap(jax.vmap(variables))
        return variables(self.state)

    def predict(self, x: Any) -> PyTree:
        """Returns the model's outputs `[rows, ...]` for an array (the entry `x`) or a dict of
        arrays.

        Entries that were scaled in training (`vt.standardize`) are scaled here in the same way.
        With several folds or seeds every training predicts: `[folds, seeds, rows, ...]`.

        Raises:
          TypeError: values that are not numbers, or not of the kind in training.
          ValueError: rows of another shape than in training, a frame with other columns or in
            another order, values that are not finite or beyond the program's type, or a learner
            without a predict function.
        """
        scaling, trainings = self.record.scaling, self.trainings
        batch = checked_rows(x, self.record.rows or {}, self.record.columns)
        if trainings is None:
            return outputs(
                self.record, self._column, self.state, scaled_rows("predict", scaling, batch)
            )
        state, parts = self.state, []
        for fold, seed in np.ndindex(trainings.folds, trainings.seeds):
            fold_scaling = scaling
            if trainings.folded:
                fold_scaling = {k: (a[fold], b[fold]) for k, (a, b) in scaling.items()}
            rows = scaled_rows("predict", fold_scaling, batch)
            training = pick(pick(state, fold), seed)
            parts.append(outputs(self.record, self._column, training, rows))
        return jax.tree.map(
            lambda *leaves: split_replicates(trainings, jax.numpy.stack(leaves)), *parts
        )

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):  # a property failed: its own error says why
            return object.__getattribute__(self, name)
        raise AttributeError(no_such_name(type(self), name))

    def __repr__(self) -> str:
        hparams = {name: printable(value) for name, value in self.hparams.items()}
        name = self.record.metric_name
        return f"Member({self.index}, {name}={self.score:.4g}, {self.status}, {hparams})"


def setting(space: Space, cohort: Cohort, hparams: Mapping[str, Any], slot: int) -> dict[str, Any]:
    """Returns the hyperparameters in one slot of a cohort, structural ones too, as plain values.

    Args:
      hparams: the traced ones of the whole cohort, by name [pop].
    """
    combination = cohort.combination
    traced = {
        name: distribution.report(np.asarray(hparams[name])[slot])
        for name, distribution in combination.traced.items()
    }
    values = {**combination.static, **traced}
    return {name: handed_out(values[name]) for name in space.names if name in values}


def outputs(trained: Trained, column: int, state: PyTree, batch: dict[str, np.ndarray]) -> PyTree:
    """Returns one member's outputs for a batch that is scaled as in training.

    Args:
      state: of one training.
    """
    plan = trained.plan
    if plan.learner.share is not None:
        state = plan.learner.share(state, trained.weights)
    cohort = plan.cohorts[trained.places[column][0]]
    traced = trained.traced(column)
    return predict(plan.learner, cohort, traced, state, batch, plan.eval_batch_size)


@functools.partial(jax.jit, static_argnums=2)
def pick(tree: PyTree, slot: Any, trainings: Replicates | None = None) -> PyTree:
    """Takes one slot of a population; with several trainings every leaf is [folds, seeds, ...]."""
    picked = jax.tree.map(lambda leaf: leaf[slot], tree)
    if trainings is None:
        return picked
    return jax.tree.map(lambda leaf: split_replicates(trainings, leaf), picked)


def printable(value: Any) -> Any:
    """Replaces a function by its name, and what a file only describes by its description."""
    return getattr(value, "__name__", value) if callable(value) else value
