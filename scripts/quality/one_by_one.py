"""One member trained alone by a jitted loop, and Optuna's TPE over it, one trial at a time.

The loop takes the functions of the task's learner, and by vtune's key rules the keys, weights, rows
and noise of the member with the trial's number, so that all methods see the same objective.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optuna
from tasks import BATCH, Task

import vtune as vt
from vtune.hparams import Hparams


@functools.cache
def _loop(task: Task, static: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    """Returns a jitted function that gives the losses on validation and test rows."""
    learner = task.learner

    def train(key: Any, traced: Any, rows: Any, data: vt.Data, test: Any) -> tuple[Any, Any]:
        h = Hparams(traced, dict(static))
        state = learner.init(key, h, data.take(data.first_rows(BATCH)))

        def step(state: Any, batch: Any) -> Any:
            number, own = batch
            return learner.step(jax.random.fold_in(key, number), h, state, data.take(own))[0], None

        state, _ = jax.lax.scan(step, state, (jnp.arange(task.steps), rows))

        def loss(rows: Any) -> Any:
            end = jax.random.fold_in(jax.random.fold_in(key, task.steps), 0)
            totals = learner.measure(end, h, state, data.take(rows), jnp.ones(len(rows)))
            return learner.score(totals)["loss"]

        return loss(data.valid), loss(test)

    return jax.jit(train)


@functools.partial(jax.jit, static_argnums=2)
def _rows(data: vt.Data, seed: Any, epochs: int) -> Any:
    return jnp.concatenate([data.rows(seed, epoch, BATCH) for epoch in range(epochs)])


def trainer(task: Task, seed: int) -> Callable[[int, dict[str, Any]], tuple[float, float]]:
    """Returns (member's id, its setting) -> the losses on validation and test rows."""
    if task.data is None:
        return _without_data(task)
    per_epoch = task.data.steps_per_epoch(BATCH)
    epochs = -(-task.steps // per_epoch)
    rows = _rows(task.data, np.uint32(seed), epochs)[: task.steps]
    test = jnp.asarray(task.data.test)
    lengths = {"total_steps": task.steps, "steps_per_epoch": per_epoch}

    def train(id: int, setting: dict[str, Any]) -> tuple[float, float]:
        static = {k: setting[k] for k in task.choices} | lengths
        traced = {k: np.float32(v) for k, v in setting.items() if k not in static}
        loop = _loop(task, tuple(sorted(static.items())))
        valid, tested = loop(vt.member_key(seed, id), traced, rows, task.data, test)
        return float(valid), float(tested)

    return train


def _without_data(task: Task) -> Callable[[int, dict[str, Any]], tuple[float, float]]:
    """The same for a learner that needs neither keys nor rows."""

    @jax.jit
    def loop(h: Any) -> Any:
        state = task.learner.init(None, h, None)
        state = jax.lax.fori_loop(
            0, task.steps, lambda i, state: task.learner.step(None, h, state, None)[0], state
        )
        return task.learner.score(task.learner.measure(None, h, state, None, None))["loss"]

    return lambda id, setting: (float(loop(setting)), math.nan)


def distributions(space: dict[str, Any]) -> dict[str, Any]:
    """A space of `Float`, `Ordinal` (by its places) and `Categorical` in Optuna's words."""
    asked: dict[str, Any] = {}
    for name, kind in space.items():
        if isinstance(kind, vt.Categorical):
            asked[name] = optuna.distributions.CategoricalDistribution(kind.choices)
        elif isinstance(kind, vt.Ordinal):
            asked[name] = optuna.distributions.IntDistribution(0, len(kind.values) - 1)
        else:
            asked[name] = optuna.distributions.FloatDistribution(kind.low, kind.high, log=kind.log)
    return asked


def setting_of(space: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """A trial's parameters as values of the space."""
    places = {name for name, kind in space.items() if isinstance(kind, vt.Ordinal)}
    return {k: space[k].values[v] if k in places else v for k, v in params.items()}


def tpe(task: Task, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Optuna's TPE as it comes, trial by trial: every trial's losses on validation and test rows,
    NaN where the training diverged."""
    train = trainer(task, seed)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    asked, found = distributions(task.space), []
    for id in range(task.full):
        trial = study.ask(asked)
        found.append(train(id, setting_of(task.space, trial.params)))
        if np.isfinite(found[-1][0]):
            study.tell(trial, found[-1][0])
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    valid, test = np.array(found).T
    return np.where(np.isfinite(valid), valid, np.nan), test
