"""What trials are told: one value, or one for each of several objectives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtune.results.costs import costs_of
from vtune.results.member import Member
from vtune.results.trained import Trained


def told_values(
    trained: Trained, objectives: Sequence[tuple[str, str]]
) -> list[list[float] | None]:
    """Returns by member what its trial is told.

    A member that diverged, or whose value is not finite, is told the worst finite value of its
    generation: samplers that count complete trials, such as CMA-ES and NSGA-II, would otherwise
    wait for one in its place for ever. None where no member of it has a finite value.

    Args:
      trained: of one generation or several. objectives: (name, "max" or "min") of each.
    """
    values = np.stack([_column(trained, name) for name, _ in objectives])
    died = [Member(trained, i).status.startswith("diverged") for i in range(values.shape[1])]
    bad = np.array(died) | ~np.isfinite(values).all(axis=0)
    for first in range(0, len(bad), trained.drawn.generation_size or len(bad)):
        own = slice(first, first + (trained.drawn.generation_size or len(bad)))
        for row, (_, mode) in zip(values[:, own], objectives, strict=True):
            if not bad[own].all():
                row[bad[own]] = (np.min if mode == "max" else np.max)(row[~bad[own]])
    told = np.isfinite(values).all(axis=0)
    return [
        column if there else None for column, there in zip(values.T.tolist(), told, strict=True)
    ]


def _column(trained: Trained, name: str) -> np.ndarray:
    """[members] a metric with the weights that each member holds, or a cost."""
    if name not in trained.records.history:
        return costs_of(trained, name).astype(np.float64)
    return trained.records.history[name][trained.last_trained].astype(np.float64)
