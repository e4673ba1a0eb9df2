"""Optuna itself, where it is needed, and its distributions."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from vtune.studies.ranges import Choices, Numbers


def optuna_module(what: str) -> Any:
    """Returns Optuna.

    Args:
      what: what needs it.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise ImportError(
            f"{what} needs optuna, which is not there ({error}): pip install 'vtune[optuna]'"
        ) from None
    return optuna


def optuna_distribution(optuna: Any, found: Numbers | Choices) -> Any:
    """Returns Optuna's distribution."""
    of = optuna.distributions
    if isinstance(found, Choices):
        return of.CategoricalDistribution(found.labels)
    kind = of.IntDistribution if found.whole else of.FloatDistribution
    return kind(found.low, found.high, log=found.log, step=found.step)


def direction(mode: str) -> str:
    """Returns what Optuna says for "max" and "min"."""
    return "maximize" if mode == "max" else "minimize"


@contextlib.contextmanager
def hushed(optuna: Any, level: int) -> Iterator[None]:
    """Optuna logs nothing below a level, and does not say what it calls experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, level))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
