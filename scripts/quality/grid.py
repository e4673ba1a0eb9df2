"""A public table: 4,096 settings of an MLP on digits, trained once; searches are simulated on it.

The grid is 8 values each of four hyperparameters. Every setting is trained from three seeds, all as
one program, and scored after every other epoch.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tasks
from tasks import Task

import vtune as vt

PATH = Path(__file__).parents[2] / "docs" / "benchmarks" / "quality" / "grid.parquet"
VALUES = {
    "lr": np.geomspace(1e-3, 1.0, 8).round(6).tolist(),
    "weight_decay": np.geomspace(1e-6, 1e-1, 8).round(9).tolist(),
    "momentum": [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99],
    "dropout": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
}
ROUNDS, EPOCHS, SEEDS = 9, 18, 3
NAME = "table, seed "  # of the tasks that read it


def space(values: dict[str, list[float]] = VALUES) -> dict[str, Any]:
    return {name: vt.Ordinal(own) for name, own in values.items()}


def trained(values: dict[str, list[float]] = VALUES, epochs: int = EPOCHS) -> Any:
    """Trains the grid; a row for each setting and seed, as a data frame.

    `accuracy_1` to `accuracy_9` are parts of the validation rows that were right, by round, 0 from
    where a training diverged; `loss` is the last round's on these rows, NaN where it diverged.
    """
    import pandas

    data, outputs = tasks.data_of("digits")
    learner, _ = tasks.mlp(outputs, metrics={"accuracy": vt.metrics.accuracy})
    sweep = vt.tune(
        learner,
        space(values),
        data,
        search=vt.Grid(),
        epochs=epochs,
        rounds=ROUNDS,
        seeds=SEEDS,
        metric="accuracy",
    )
    accuracy = sweep.history["accuracy/splits"].reshape(ROUNDS, len(sweep), SEEDS)
    loss = sweep.history["loss/splits"][-1].reshape(len(sweep), SEEDS)
    settings = {name: np.repeat(own[-1], SEEDS) for name, own in sweep.settings.items()}
    nearest = lambda name: np.abs(np.subtract.outer(settings[name], values[name])).argmin(axis=1)
    columns = {name: np.array(own)[nearest(name)] for name, own in values.items()}
    columns["seed"] = np.tile(np.arange(SEEDS, dtype=np.int8), len(sweep))
    for number, own in enumerate(accuracy, 1):
        columns[f"accuracy_{number}"] = np.nan_to_num(own.ravel()).astype(np.float32)
    columns["loss"] = loss.ravel().astype(np.float32)
    return pandas.DataFrame(columns)


def write(frame: Any, path: Path = PATH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, compression="zstd", index=False)


@functools.cache
def read(path: Path = PATH) -> Any:
    import pandas

    return pandas.read_parquet(path)


def errors(frame: Any) -> np.ndarray:
    """Parts of the validation rows that were wrong: [seeds, 8, 8, 8, 8, rounds]."""
    columns = [name for name in frame if name.startswith("accuracy_")]
    keys = ["seed", *VALUES]
    own = frame.sort_values(keys)[columns].to_numpy()
    return 1 - own.reshape(*(frame[name].nunique() for name in keys), len(columns))


@functools.cache
def reader(path: Path) -> vt.Learner:
    """A learner that reads a training's next score in every step; one for all seeds, so that they
    share their programs."""
    frame = read(path)
    error = jnp.asarray(errors(frame), jnp.float32)
    edges = {
        name: jnp.asarray(
            [(a + b) / 2 for a, b in itertools.pairwise(sorted(frame[name].unique()))]
        )
        for name in VALUES
    }

    def measure(key: Any, h: Any, done: Any, batch: Any, weight: Any) -> Any:
        places = [jnp.searchsorted(edges[name], h[name]) for name in VALUES]
        return error[(jnp.int32(h["training"]), *places, done - 1)]

    return vt.Learner(
        init=lambda key, h, batch: jnp.int32(0),
        step=lambda key, h, done, batch: (done + 1, {}),
        measure=measure,
        score=lambda total: {"loss": total},
    )


def simulated(seed: int = 0, full: int = tasks.FULL, path: Path = PATH) -> Task:
    """A task whose trainings are read from the table, so that any search of it costs next to
    nothing.

        simulated().tune(search=vt.Halton(64), refiner=vt.Halving())

    Args:
      seed: of the trainings that are read, 0 to 2. full: trainings that a method may spend.
    """
    frame = read(path)
    values = {name: sorted(frame[name].unique().tolist()) for name in VALUES}
    only = {"training": vt.Ordinal([seed])}  # a number of the program, and so no other program
    return Task(f"{NAME}{seed}", reader(path), space(values) | only, None, ROUNDS, ROUNDS, full)
