"""The searches, each with the member-steps of 256 full trainings, and what they find by when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import one_by_one
import optuna
from tasks import Task

import vtune as vt

POINTS = 64  # of a curve, evenly spaced in member-steps


def plain(search: Callable[[Task, int], Any]) -> Callable[[Task, int], dict[str, Any]]:
    """A method whose members all train to the end, one after the other by their ids."""

    def run(task: Task, seed: int) -> dict[str, Any]:
        sweep = task.tune(search=search(task, seed), seed=seed)
        return chosen(task, sweep) | {"curve": trials(task, -sweep.scores)}

    return run


def generations(task: Task, seed: int) -> Any:
    sampler = optuna.samplers.TPESampler(seed=seed)
    return vt.Generations(sampler, size=task.full // 8, generations=8)


def halving(task: Task, seed: int) -> dict[str, Any]:
    """As many settings as the budget gives, some four times as many."""
    refiner = vt.Halving(min_rounds=task.rounds // 9)
    size = task.full // task.cohorts
    while cost(refiner, size + 1, task) * task.cohorts <= task.full:
        size += 1
    search = vt.Halton(size * task.cohorts)
    return refined(task, [task.tune(search=search, refiner=refiner, seed=seed)])


def cost(refiner: Any, size: int, task: Task) -> float:
    """Full trainings that a cohort of a refined population takes."""
    return sum(rung.size * rung.rounds for rung in refiner.rungs(size, task.rounds)) / task.rounds


def hyperband(task: Task, seed: int) -> dict[str, Any]:
    """One Hyperband after the other, as many as come nearest to the budget."""
    refiner = vt.Hyperband(max_rounds=task.rounds)
    runs = max(1, round(task.full / (cost(refiner, refiner.size, task) * task.cohorts)))
    tune = lambda run: task.tune(search=vt.Halton(), refiner=refiner, seed=1000 * seed + run)
    return refined(task, [tune(run) for run in range(runs)])


def pbt(task: Task, seed: int) -> dict[str, Any]:
    return refined(task, [task.tune(search=vt.Halton(task.full), refiner=vt.PBT(), seed=seed)])


def tpe(task: Task, seed: int) -> dict[str, Any]:
    valid, test = one_by_one.tpe(task, seed)
    best = int(np.nanargmin(valid))
    return {
        "best": float(valid[best]),
        "test": float(test[best]),
        "curve": trials(task, valid),
    }


METHODS: dict[str, Callable[[Task, int], dict[str, Any]]] = {
    "Halton": plain(lambda task, seed: vt.Halton(task.full)),
    "Random": plain(lambda task, seed: vt.Random(task.full)),
    "halving": halving,
    "Hyperband": hyperband,
    "PBT": pbt,
    "TPE one by one": tpe,
    "TPE by generations": plain(generations),
}


def chosen(task: Task, sweep: vt.Sweep) -> dict[str, float]:
    """The best last loss of members that trained to the end, and that member's on test rows."""
    return {"best": sweep.best.score, "test": task.tested(sweep)}


def refined(task: Task, sweeps: list[vt.Sweep]) -> dict[str, Any]:
    """The same of refined sweeps, one after the other. What there is after a round is the best of
    the members that still train, or of the sweeps before."""
    members, best, before = [], [], np.inf
    for sweep in sweeps:
        trained = np.concatenate([[0], sweep.n_resources_])
        members.append(np.repeat(sweep.n_candidates_, np.diff(trained)))  # in every round
        losses = sweep.history["loss"]
        best.append(np.minimum(np.where(np.isfinite(losses), losses, np.inf).min(axis=1), before))
        before = min(before, sweep.best.score)
    spent = np.cumsum(np.concatenate(members)) / task.rounds
    found = chosen(task, min(sweeps, key=lambda sweep: sweep.best.score))
    return found | {"spent": float(spent[-1]), "curve": curve(task, spent, np.concatenate(best))}


def curve(task: Task, spent: np.ndarray, best: np.ndarray) -> list[float | None]:
    """What there is at `POINTS` even steps of the budget, None where that is nothing yet."""
    at = np.searchsorted(spent, np.arange(1, POINTS + 1) * task.full / POINTS + 1e-9, "right") - 1
    return [float(best[i]) if i >= 0 and np.isfinite(best[i]) else None for i in at]


def trials(task: Task, losses: np.ndarray) -> list[float | None]:
    """The curve of members that train to the end, one after the other."""
    best = np.minimum.accumulate(np.where(np.isfinite(losses), losses, np.inf))
    return curve(task, np.arange(1, task.full + 1), best)


def measured(task: Task, method: str, seed: int) -> dict[str, Any]:
    """What a method finds on a task: the line of the results."""
    began, used = time.perf_counter(), time.process_time()
    found = METHODS[method](task, seed)
    return {
        "task": task.name,
        "method": method,
        "seed": seed,
        "spent": task.full,
        **found,
        "seconds": time.perf_counter() - began,
        "processor": time.process_time() - used,
    }
