"""replay: a fresh member on a schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vtune.data.dataset import Data
from vtune.learner.protocol import Learner
from vtune.results.member import Member
from vtune.results.rerun import path_of
from vtune.results.schedule import Fixed, Schedule
from vtune.search.given import Given
from vtune.space.distributions import Categorical, Float, Int
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.launch import run_prepared
from vtune.tuning.prepare import prepare
from vtune.types import float_dtype


def replay(
    learner: Learner,
    data: Data | None,
    schedule: Mapping[str, Any],
    *,
    seed: int = 0,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
    metric: Any = None,
    mode: str | None = None,
    progress: bool | None = None,
) -> Member:
    """Trains a fresh member whose hyperparameters follow a schedule, round by round.

    With PBT what was found is a schedule and not a setting: this trains on it from new initial
    weights, with other data or another seed.

    Args:
      learner: as for `vt.tune`. data: None for learners that make their own.
      schedule: `sweep.schedule(i)`; or a dict by name of sequences of numbers [rounds] (lists,
        arrays, pandas columns) for traced hyperparameters and single values for structural and
        fixed ones, or one made from the other: `{**sweep.schedule(i), "lr": [0.1, 0.1, 0.01]}`.
      seed: of weights, rows and noise.
      epochs, steps, batch_size, eval_batch_size, metric, mode: as for `vt.tune`; what is left out
        is as it was in the sweep that `sweep.schedule(i)` comes from: a dropped member's then
        stops where that was dropped.

    Returns:
      The member, trained; its `history` is [rounds, ...].

    Raises:
      TypeError, ValueError: on whatever cannot work, before anything is compiled.
    """
    traced, fixed, given = _parts(schedule)
    known = dict(schedule.options) if isinstance(schedule, Schedule) else {}
    as_it_was = epochs is None and steps is None and "steps" in known
    if as_it_was:
        steps = known["steps"]
    rounds = known["rounds"] if as_it_was else given
    arrays = {name: _in_program(name, values) for name, values in traced.items()}
    space = {**{name: _range(values) for name, values in arrays.items()}, **fixed}
    path = path_of(np.zeros(given or 1, np.int32), arrays, rounds or 1)
    first = {name: _plain(values[0]) for name, values in arrays.items()}
    first |= {name: v.choices[0] for name, v in fixed.items() if isinstance(v, Categorical)}
    other = metric is not None and metric != known.get("metric")
    arguments = TuneArguments(
        learner=learner,
        space=space,
        data=data,
        search=Given([first]),
        epochs=epochs,
        steps=steps,
        rounds=rounds,
        batch_size=batch_size if batch_size is not None else known.get("batch_size") or 32,
        eval_batch_size=known.get("eval_batch_size")
        if eval_batch_size is None
        else eval_batch_size,
        metric=metric if metric is not None else known.get("metric", "loss"),
        mode=mode if mode is not None or other else known.get("mode"),
        seed=seed,
        path=path,
        known_schedule=isinstance(schedule, Schedule),
    )
    return run_prepared(prepare(arguments), progress, given if as_it_was else None)[0]


def _parts(schedule: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int | None]:
    """(traced by round, fixed values, rounds)."""
    if not isinstance(schedule, Mapping):
        raise TypeError(
            f"schedule={schedule!r} is no schedule; give sweep.schedule(i) or a dict such as "
            '{"lr": [0.1, 0.1, 0.01]}'
        )
    by_round = lambda v: not isinstance(v, Fixed | str | Mapping) and np.ndim(v) > 0
    names = tuple(name for name, value in schedule.items() if by_round(value))
    fixed = {
        # A choice may be a list, which a bare value may not.
        name: Categorical([value[0]]) if isinstance(value, Fixed) else value
        for name, value in schedule.items()
        if name not in names
    }
    lengths = {name: len(schedule[name]) for name in names}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(
            f"schedule: every traced hyperparameter has one value a round; lengths are {lengths}"
        )
    repeated = [len(value) for value in schedule.values() if isinstance(value, Fixed)]
    rounds = next(iter([*lengths.values(), *repeated]), None)
    return {name: schedule[name] for name in names}, fixed, rounds


def _in_program(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise TypeError(
            f"schedule[{name!r}]: {values!r} is not a number a round; a structural or fixed "
            "hyperparameter is given as its value"
        )
    if not all(map(math.isfinite, array.tolist())):
        raise ValueError(f"schedule[{name!r}]: {values!r} is not finite in every round")
    return array.astype(np.int32 if array.dtype.kind in "iu" else float_dtype())


def _range(values: np.ndarray) -> Float | Int:
    kind = Int if values.dtype.kind == "i" else Float
    return kind(_plain(values.min()), _plain(values.max()))


def _plain(value: np.generic) -> Any:
    """The shortest Python number that is this one in the program's type."""
    return value.item() if value.dtype.kind == "i" else float(str(value))
