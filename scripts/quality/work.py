"""Runs what is not in the results yet: a task in a process, its programs compiled once."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import store


def missing(path: Path, task: str, methods: Sequence[str], seeds: int) -> list[tuple[str, int]]:
    """The (method, seed) of a task that have no result yet."""
    done = {store.key(row) for row in store.read(path)}
    wanted = [(method, seed) for method in methods for seed in range(seeds)]
    return [(method, seed) for method, seed in wanted if (task, method, seed) not in done]


def task_of(name: str, full: int | None) -> Any:
    """A task by its name, with another budget unless that is None."""
    import grid
    import tasks

    if name.startswith(grid.NAME):
        task = grid.simulated(int(name.removeprefix(grid.NAME)))
    else:
        task = tasks.task(name)
    return task if full is None else dataclasses.replace(task, full=full)


def one_task(
    path: Path, name: str, wanted: Sequence[tuple[str, int]], full: int | None = None
) -> None:
    """Runs methods and seeds of a task in this process."""
    import methods
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = task_of(name, full)
    for method, seed in wanted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of members that diverge, and of best on an edge
            row = methods.measured(task, method, seed)
        store.append(path, row)
        took = f"{row['best']:.5g}, {row['seconds']:.1f} s"
        print(f"{name}: {method}, seed {seed}: {took}", flush=True)


def all_tasks(
    path: Path, names: Sequence[str], methods: Sequence[str], seeds: int, jobs: int
) -> None:
    """Runs what is missing, a few tasks at a time, each in a process of its own on one core."""
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")  # compiles quicker
    wanted = {name: missing(path, name, methods, seeds) for name in names}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        runs = [pool.submit(one_task, path, name, rest) for name, rest in wanted.items() if rest]
        for run in runs:
            try:
                run.result()
            except Exception as error:  # the other tasks go on; the next call tries it again
                print(f"failed: {error!r}", file=sys.stderr, flush=True)
