"""A model with what is to be made of its learner, such as low-rank adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Adapted(NamedTuple):
    """Stands for a model in `flax_learner` and `nnx_learner`.

    Attributes:
      model: the model itself. adapt: (its learner) -> the learner that is meant.
    """

    model: Any
    adapt: Callable[[Any], Any]


def taken_apart(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Returns (the model itself, what makes the learner that is meant of its learner)."""
    return model if isinstance(model, Adapted) else (model, lambda learner: learner)
