"""Results brought together: losses by task, method and seed, and the curves of all."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

ARRAYS = ("best", "test", "spent", "processor", "curves")
GENERATIONS, ONE_BY_ONE = "TPE by generations", "TPE one by one"


def collected(
    rows: Sequence[dict[str, Any]], tasks: Sequence[str], methods: Sequence[str], seeds: int
) -> dict[str, Any]:
    """What the tables and the figure are made of: methods and tasks that are complete.

    `best`, `test`, `spent`, `processor`: [tasks, methods, seeds]. `curves`: [tasks, methods,
    points], means over the seeds of normalised losses, NaN where a seed has nothing yet.
    """
    found = {(row["task"], row["method"], row["seed"]): row for row in rows}
    complete = lambda task, method: all((task, method, s) in found for s in range(seeds))
    methods = [m for m in methods if any(complete(t, m) for t in tasks)]
    tasks = [t for t in tasks if all(complete(t, m) for m in methods)]
    own = [[[found[t, m, s] for s in range(seeds)] for m in methods] for t in tasks]
    numbers = lambda name: np.array(
        [[[row.get(name, math.nan) for row in method] for method in task] for task in own], float
    )
    return {
        "tasks": tasks,
        "methods": methods,
        "seeds": seeds,
        "best": numbers("best"),
        "test": numbers("test"),
        "spent": numbers("spent"),
        "processor": numbers("processor"),
        "curves": normalised(numbers("curve")),
    }


def normalised(curves: np.ndarray) -> np.ndarray:
    """Curves [tasks, methods, seeds, points] on one scale, as means over the seeds.

    0 is the least loss that any method had on the task with any seed, 1 the mean over the seeds of
    what the first method had first.
    """
    low = np.nanmin(curves, axis=(1, 2, 3), keepdims=True)
    first = np.isfinite(curves[:, :1]).argmax(axis=-1)[..., None]
    high = np.take_along_axis(curves[:, :1], first, axis=-1).mean(axis=2, keepdims=True)
    return ((curves - low) / (high - low)).mean(axis=2)


def as_json(found: dict[str, Any]) -> str:
    """The arrays in five digits, NaN as null."""
    short = lambda a: None if np.isnan(a) else float(f"{a:.5g}")
    lists = lambda a: [lists(b) for b in a] if np.ndim(a) else short(a)
    return json.dumps({k: lists(v) if isinstance(v, np.ndarray) else v for k, v in found.items()})


def of_json(text: str) -> dict[str, Any]:
    read = json.loads(text)
    return {k: np.array(v, float) if k in ARRAYS else v for k, v in read.items()}
