"""Optuna itself, where it is needed, and its distributions."""

from __future__ import annotations

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
