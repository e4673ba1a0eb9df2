"""Wall time of TPE by generations and one by one, in turn in one process."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from typing import Any

import methods
import one_by_one
import optuna
import tasks
from timing import seconds

import vtune as vt


def sweeps_of_one(task: tasks.Task, seed: int) -> None:
    """A call of `vt.tune` with a population of one for every trial."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    asked = one_by_one.distributions(task.space)
    for _ in range(task.full):
        trial = study.ask(asked)
        sweep = task.tune(search=vt.Given([trial.params]), seed=seed, rounds=1)
        value = -float(sweep.scores[0])
        state = optuna.trial.TrialState.FAIL if value == float("inf") else None
        study.tell(trial, None if state else value, state=state)


def asking(task: tasks.Task, seed: int) -> None:
    """Optuna alone: as many trials that cost nothing."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    asked = one_by_one.distributions(task.space)
    for number in range(task.full):
        study.tell(study.ask(asked), float(number * 37 % 101))


def loops(task: tasks.Task, seed: int) -> None:
    """The jitted loop alone, over settings that are there."""
    train = one_by_one.trainer(task, seed)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for id in range(task.full):
        train(id, study.ask(one_by_one.distributions(task.space)).params)


def at_once(task: tasks.Task, seed: int) -> None:
    task.tune(search=vt.Halton(task.full), seed=seed)


def by_generations(task: tasks.Task, seed: int) -> None:
    task.tune(search=methods.generations(task, seed), seed=seed)


WAYS: dict[str, Callable[[tasks.Task, int], Any]] = {
    "TPE by generations": by_generations,
    "TPE one by one, a jitted loop": one_by_one.tpe,
    "TPE one by one, a sweep of one": sweeps_of_one,
    "training alone: all at once (Halton)": at_once,
    "training alone: a jitted loop": loops,
    "Optuna's asking alone, one by one": asking,
}


def rows(name: str, turns: int) -> list[str]:
    """The table: medians of the turns, each way warmed up once, and times the first way's."""
    task = tasks.task(name)
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(turns + 1):
        for way, run in WAYS.items():
            took[way].append(seconds(functools.partial(run, task, turn)))
    took = {way: own[1:] for way, own in took.items()}
    first = took["TPE by generations"]
    lines = [f"| {name}, {task.full} trainings | seconds | times |", "|---|---|---|"]
    for way, own in took.items():
        ratio = statistics.median(a / b for a, b in zip(own, first, strict=True))
        lines.append(f"| {way} | {statistics.median(own):.2f} | {ratio:.2f} |")
    return lines
