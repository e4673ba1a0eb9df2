"""How long members train, where that is up to their hyperparameters or their scores: checked here,
before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.engine.plan import Stopping, data_rows
from vtune.hparams import Hparams, UnknownHyperparameterError
from vtune.refine.base import Refiner
from vtune.search.base import Cohort
from vtune.space.distributions import Categorical
from vtune.validation import is_whole


def most_epochs(cohorts: tuple[Cohort, ...], epochs: Callable[[Hparams], Any]) -> int:
    """The largest number of epochs that a member may have, of all that were drawn and of the ends
    of the ranges, so that another draw runs the same program.

    Raises:
      ValueError, TypeError: a number of epochs is not whole, or below 1.
    """
    found = []
    for cohort in cohorts:
        traced, static = cohort.combination.traced, cohort.combination.static
        last = np.nextafter(1.0, 0.0)
        ends = [
            {name: d.from_unit(np.array([u]))[0] for name, d in traced.items()} for u in (0.0, last)
        ]
        for setting in [*_settings(cohort), *ends]:
            try:
                value = epochs(Hparams(setting, static))
            except UnknownHyperparameterError as error:
                raise ValueError(f"epochs: {error}") from None
            whole = is_whole(value) or (np.ndim(value) == 0 and float(value) == int(value))
            if not whole:
                raise TypeError(
                    f"epochs={value!r} is not a whole number; write "
                    '{"epochs": vt.Int(5, 20)} and epochs=lambda h: h["epochs"]'
                )
            if value < 1:
                raise ValueError(f"epochs={value} must be 1 or more")
            found.append(int(value))
    return max(found)


def with_total_steps(
    cohort: Cohort, epochs: Callable[[Hparams], Any], steps: int
) -> tuple[Cohort, int | None]:
    """The steps of its members' own epochs: of all alike where only structural choices are read,
    else None, and the members carry theirs as a traced number, "total_steps".

    Args:
      steps: in an epoch.
    """
    combination = cohort.combination
    try:
        return cohort, int(epochs(Hparams({}, combination.static))) * steps
    except UnknownHyperparameterError:
        own = [epochs(Hparams(setting, combination.static)) for setting in _settings(cohort)]
        each = [int(number) * steps for number in own]
        hparams = {**cohort.hparams, "total_steps": np.asarray(each, np.int32)}
        return cohort._replace(hparams=hparams), None


def _settings(cohort: Cohort) -> list[dict[str, Any]]:
    """By member its traced values."""
    columns = cohort.hparams.items()
    return [{name: values[i] for name, values in columns} for i in range(len(cohort.id))]


def stopping_of(
    patience: Any, keep: Any, own_epochs: Any, rounds: int, epochs: Any, refiner: Any
) -> Stopping | None:
    """When members stop; None where all train to the end and keep their last weights.

    Raises:
      ValueError: what cannot be, or a refiner beside it.
    """
    if patience is not None and (not is_whole(patience) or patience < 1):
        raise ValueError(f"patience={patience!r} must be a whole number of rounds, 1 or more")
    if keep not in (None, "best", "last"):
        raise ValueError(f'keep={keep!r} must be "best" or "last"')
    keep = keep or ("last" if patience is None else "best")
    if patience is None and own_epochs is None and keep == "last":
        return None
    if not getattr(refiner, "idle", False):
        given = {"patience=": patience, "epochs= as a function": own_epochs, "keep=": keep}
        what = next(name for name, value in given.items() if value is not None)
        raise ValueError(
            f"{what} goes with plain search; {type(refiner).__name__} decides itself who goes on: "
            "leave one of the two out"
        )
    if own_epochs is not None and rounds != epochs:
        raise ValueError(
            f"rounds={rounds}: where epochs= is a function, members are scored every epoch; leave "
            "rounds= out"
        )
    return Stopping(patience, keep, own_epochs is not None)


EVAL_ROWS = 1024  # scored at once, unless eval_batch_size= says otherwise


def length_of(
    cohort: Cohort, data: Data | None, epochs: Any, steps: Any, batch_size: Any
) -> tuple[int | None, int, int | None]:
    """(batch size, steps, steps per epoch) of a cohort."""
    if (epochs is None) == (steps is None):
        both = "neither is" if epochs is None else "both are"
        raise ValueError(f"epochs= or steps= must be given, one of them; {both}")
    for name, value in (("epochs", epochs), ("steps", steps)):
        _check_no_range(name, value)
        if value is not None and (not is_whole(value) or value < 1):
            raise ValueError(f"{name}={value!r} must be a whole number, 1 or more")
    if data is None:
        if steps is None:
            raise ValueError("epochs= needs data; without, give steps=")
        return None, int(steps), None
    size = batch_size_of(cohort, batch_size)
    pair = data_rows(data)
    assert pair is not None
    if size > pair[0]:
        of = " of the smallest fold" if isinstance(data, Folds) else ""
        raise ValueError(
            f"batch_size={size} is above the {pair[0]} training rows{of}; at most {pair[0]}"
        )
    a_epoch = pair[0] // size
    return size, int(steps) if steps is not None else a_epoch * int(epochs or 0), a_epoch


def batch_size_of(cohort: Cohort, batch_size: Any) -> int:
    size = batch_size
    if callable(batch_size):
        try:
            size = batch_size(Hparams({}, cohort.combination.static))
        except UnknownHyperparameterError as error:
            raise ValueError(
                f"batch_size reads {error.name!r}, which is not structural; write "
                "vt.Categorical([...]) or a fixed value for it in the space"
            ) from None
    _check_no_range("batch_size", size)
    if not is_whole(size):
        raise TypeError(f"batch_size={size!r} is not a whole number")
    if size < 1:
        raise ValueError(f"batch_size={size} must be 1 or more")
    return int(size)


def _check_no_range(name: str, value: Any) -> None:
    """A range belongs into the space."""
    if not isinstance(value, Categorical) and not hasattr(value, "from_unit"):
        return
    instead = (
        f'write "{name}": {value!r} into the space, and {name}=lambda h: h["{name}"] beside it'
    )
    if name == "steps":
        instead = "give one number for all members"
    raise TypeError(f"{name}={value!r} is not a whole number; {instead}")


def rounds_of(rounds: Any, epochs: Any, lengths: list[Any], refiner: Refiner) -> int:
    shortest = min(steps for _, steps, _ in lengths)
    if rounds is None:
        rounds = getattr(refiner, "max_rounds", None)
    if rounds is None:
        if epochs is not None:
            return int(epochs)
        each = [max(1, steps // a_epoch) for _, steps, a_epoch in lengths if a_epoch]
        return min(each, default=1)
    if not is_whole(rounds) or rounds < 1:
        raise ValueError(f"rounds={rounds!r} must be a whole number, 1 or more")
    if rounds > shortest:
        raise ValueError(f"rounds={rounds} is more than the {shortest} steps there are")
    return int(rounds)


def eval_batch_size_of(size: Any, data: Data | None) -> int | None:
    if size is not None and (not is_whole(size) or size < 1):
        raise ValueError(f"eval_batch_size={size!r} must be a whole number, 1 or more")
    pair = data_rows(data)
    return None if pair is None else min(int(size or EVAL_ROWS), pair[1])
