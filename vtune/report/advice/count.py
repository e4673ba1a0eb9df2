"""Advice: few settings for so many hyperparameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vtune.plots.canvas import counted
from vtune.plots.hyperparameters import varying
from vtune.results.sweep import Sweep
from vtune.space.distributions import Categorical, Float, Int, Ordinal

ENOUGH, FEW = 10, 5  # settings for each hyperparameter


def too_few_settings(sweep: Sweep) -> str | None:
    """Returns that there were fewer than five settings for each hyperparameter that varies, unless
    they are all that the space has.

    Ten are the rule of thumb for designs that fill a space (Loeppky, Sacks and Welch, "Choosing the
    sample size of a computer experiment", 2009). Settings that a refiner made count too.
    """
    count, tried = len(varying(sweep.space)), settings_tried(sweep)
    if tried >= FEW * count or tried >= size_of(sweep):
        return None
    return (
        f"{counted(tried, 'setting')} {'is' if tried == 1 else 'are'} few for "
        f"{counted(count, 'hyperparameter')}: ten for each are usual, {ENOUGH * count}; or fix the "
        "hyperparameters that you know."
    )


def settings_tried(sweep: Sweep) -> int:
    """Returns how many different settings were trained, those that a refiner made among them."""
    cohorts = np.array([cohort for cohort, _ in sweep.trained.places], np.float64)
    settings = [np.asarray(values, np.float64) for values in sweep.settings.values()]
    rows = np.stack([np.broadcast_to(cohorts, sweep.parents.shape), *settings], axis=-1)
    rows = np.where(np.isnan(rows), np.inf, rows)  # alike, where a member has no such one
    return len(np.unique(rows[sweep.parents >= 0], axis=0))


def size_of(sweep: Sweep) -> float:
    """Returns how many settings the space has; infinity where a range is continuous."""
    return sum(math.prod(map(_count, part.values())) for part in sweep.space.parts)


def _count(declared: Any) -> float:
    if isinstance(declared, Categorical):
        return len(declared.choices)
    if isinstance(declared, Float | Int | Ordinal):
        return math.inf if declared.count is None else declared.count
    return 1
