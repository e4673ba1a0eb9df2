"""`vt.replay`: trains a new member on a given schedule of hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vtune.data.dataset import Data
from vtune.keywords import answering
from vtune.learner.protocol import Learner
from vtune.results.member import Member
from vtune.results.rerun import trajectory_of
from vtune.results.schedule import Fixed, Schedule
from vtune.search.given import Given
from vtune.space.distributions import Categorical, Float, Int
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.launch import Watching, run_prepared
from vtune.tuning.prepare import prepare
from vtune.types import float_dtype


class _Parts(NamedTuple):
    """A user's schedule, taken apart.

    Attributes:
      traced: name -> [rounds] numbers, in the program's type.
      fixed: name -> a value that does not change.
      rounds: how many the schedule has; None where nothing in it goes by rounds.
    """

    traced: dict[str, np.ndarray]
    fixed: dict[str, Any]
    rounds: int | None


@answering
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
    init_from: Any = None,
    frozen: Any = None,
    progress: bool | None = None,
) -> Member:
    """Trains a fresh member whose hyperparameters follow a schedule, round by round.

    What PBT finds is a schedule and not a setting. Replay trains on it from new initial weights,
    with other data or another seed.

    Args:
      learner: as for `vt.tune`.
      data: as for `vt.tune`; None for learners that make their own.
      schedule: `sweep.schedule(i)`, or a dict by name. A traced hyperparameter has a sequence of
        numbers [rounds] (list, array or pandas column), a structural or fixed one a single value.
        A dict may be made from the other: `{**sweep.schedule(i), "lr": [0.1, 0.1, 0.01]}`.
      seed: decides initial weights, the order of rows, and noise.
      epochs, steps, batch_size, eval_batch_size, metric, mode: as for `vt.tune`. What is left out
        is taken from the sweep that `sweep.schedule(i)` comes from. The schedule of a member that
        was dropped then ends where the member was dropped.
      init_from, frozen, progress: as for `vt.tune`.

    Returns:
      The trained member. Its `history` is [rounds, ...].

    Raises:
      TypeError, ValueError: an argument cannot work. Raised before anything is compiled.
    """
    traced, fixed, rounds = _parts(schedule)
    options = dict(schedule.options) if isinstance(schedule, Schedule) else {}
    same_length = epochs is None and steps is None and "rounds" in options
    planned = options["rounds"] if same_length else rounds
    first = {name: _plain(values[0]) for name, values in traced.items()}
    first |= {name: v.choices[0] for name, v in fixed.items() if isinstance(v, Categorical)}
    if mode is None and metric in (None, options.get("metric")):
        mode = options.get("mode")
    if batch_size is None and getattr(data, "batch_size", None) is None:
        batch_size = options.get("batch_size")
    if eval_batch_size is None:
        eval_batch_size = options.get("eval_batch_size")
    arguments = TuneArguments(
        learner=learner,
        space={**{name: _range(values) for name, values in traced.items()}, **fixed},
        data=data,
        search=Given([first]),
        epochs=options.get("epochs") if same_length else epochs,
        steps=options.get("steps") if same_length else steps,
        rounds=planned,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        metric=metric if metric is not None else options.get("metric", "loss"),
        mode=mode,
        seed=seed,
        init_from=init_from,
        frozen=frozen,
        trajectory=trajectory_of(np.zeros(rounds or 1, np.int32), traced, planned or 1),
        known_schedule=isinstance(schedule, Schedule),
    )
    try:
        prepared = prepare(arguments)
    except ValueError as error:
        if rounds is not None and str(error).startswith(f"rounds={planned} "):
            raise ValueError(
                f"replay: the schedule has a value for each of {planned} rounds; {error}"
            ) from None
        raise
    return run_prepared(prepared, Watching(progress=progress), rounds if same_length else None)[0]


def _parts(schedule: Any) -> _Parts:
    """Takes a schedule apart and checks it."""
    if not isinstance(schedule, Mapping):
        raise TypeError(
            f"schedule must be a sweep.schedule(i) or a dict, got {schedule!r}; write "
            '{"lr": [0.1, 0.1, 0.01]}'
        )
    names = tuple(name for name, value in schedule.items() if _is_by_round(name, value))
    fixed = {
        # A choice may be a list, which a bare value may not.
        name: Categorical([value[0]]) if isinstance(value, Fixed) else value
        for name, value in schedule.items()
        if name not in names
    }
    lengths = {name: len(schedule[name]) for name in names}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(
            "schedule: every traced hyperparameter must have one value per round, lengths are "
            f"{lengths}; give sequences of one length"
        )
    repeated = [len(value) for value in schedule.values() if isinstance(value, Fixed)]
    rounds = next(iter([*lengths.values(), *repeated]), None)
    return _Parts({name: _in_program(name, schedule[name]) for name in names}, fixed, rounds)


def _is_by_round(name: str, value: Any) -> bool:
    try:
        return not isinstance(value, Fixed | str | Mapping) and np.ndim(value) > 0
    except ValueError:  # rows of different shapes
        raise ValueError(
            f"schedule[{name!r}] must hold one number per round, got {value!r}"
        ) from None


def _in_program(name: str, values: Any) -> np.ndarray:
    """Returns the values of one hyperparameter, [rounds], in the program's type."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise TypeError(
            f"schedule[{name!r}] must hold one number per round, got {values!r}; a structural or "
            "fixed hyperparameter is given as its value"
        )
    if not all(map(math.isfinite, array.tolist())):
        raise ValueError(f"schedule[{name!r}] must be finite in every round, got {values!r}")
    return array.astype(np.int32 if array.dtype.kind in "iu" else float_dtype())


def _range(values: np.ndarray) -> Float | Int:
    """Returns a distribution that all values lie in, for the space."""
    kind = Int if values.dtype.kind == "i" else Float
    return kind(_plain(values.min()), _plain(values.max()))


def _plain(value: np.generic) -> Any:
    """Returns the shortest Python number that equals `value` in the program's type."""
    return value.item() if value.dtype.kind == "i" else float(str(value))
