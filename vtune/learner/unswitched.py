"""Warns of models that a training step leaves in the mode of evaluation."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from vtune.callers import users_line
from vtune.learner.mode import ADVICE, is_mode
from vtune.types import Array, Batch


def warn_constant(before: Mapping[Any, Array], after: Mapping[Any, Array]) -> None:
    """Warns of batch statistics that a training step hands on as they are.

    Args:
      before, after: arrays by their path. Those that are the very same objects did not change.
    """
    still = [path for path, leaf in before.items() if after.get(path) is leaf]
    if still:
        first = "/".join(map(str, still[0]))
        more = f" and {len(still) - 1} more" if len(still) > 1 else ""
        warnings.warn(
            f"the model's batch statistics {first}{more} change in no training step, so they stay "
            f"as they were made. {ADVICE}; use one of these, or call the model yourself in apply=, "
            "which is given train. If they are frozen on purpose, ignore this warning",
            stacklevel=users_line(),
        )


def warn_argument(name: str, default: bool) -> None:
    """Warns of an argument of `__call__` that switches dropout on, and is not known as a mode."""
    warnings.warn(
        f"the model draws random numbers with {name}={not default} alone, and vtune leaves it at "
        f"{default}. {ADVICE}; if {name!r} is the mode, give it such a name, or write "
        "apply=lambda model, variables, batch, *, train, rngs, mutable: model.apply(variables, "
        f'batch["x"], {name}={"" if not default else "not "}train, rngs=rngs, mutable=mutable)',
        stacklevel=users_line(),
    )


def flags(call: Callable[..., Any], batch: Batch) -> dict[str, bool]:
    """Returns arguments that default to True or False and are neither data nor a known mode."""
    parameters = inspect.signature(call).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if isinstance(p.default, bool) and p.name not in batch and not is_mode(p)
    }
