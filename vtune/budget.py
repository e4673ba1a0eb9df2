"""How long members train, where that is up to their hyperparameters or their scores: checked here,
before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vtune.plan import Stopping
from vtune.search import Cohort
from vtune.types import Hparams, UnknownHyperparameterError, is_whole


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
