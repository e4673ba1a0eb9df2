"""Advice: members diverge beyond a value of one hyperparameter, such as the learning rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vtune.plots.scores import died
from vtune.report.words import rough, shared, shown
from vtune.results.no_score import finished
from vtune.results.sweep import Sweep

FEWEST = 3  # members that diverged, and that did not
CLEAR, SURE = 0.9, 3.0


class Bound(NamedTuple):
    """A value beyond which members diverge.

    Attributes:
      name: of the hyperparameter. value: the bound. above: whether they diverge at it and above,
        or at it and below. area: how well the hyperparameter tells them apart, 0.5 to 1.
      beyond, beyond_died, died: how many members lie beyond, how many of them diverged, and how
        many did in all.
      best: whether the best member lies beyond.
    """

    name: str
    value: float
    above: bool
    area: float
    beyond: int
    beyond_died: int
    died: int
    best: bool


def divergence(sweep: Sweep) -> str | None:
    """Returns the value beyond which members diverged, where one hyperparameter tells them from
    the others.

    It is the one with the largest area under the receiver operating characteristic, which has to
    be 0.9 or more and three standard deviations from a half (Mann and Whitney 1947). The bound is
    the value that parts them best (Youden 1950).
    """
    found = [bound for name in sweep.settings if (bound := _bound(sweep, name)) is not None]
    if not found:
        return None
    bound = max(found, key=lambda one: one.area)
    name = shown(bound.name)
    more, end, move = ("more", "upper", "lower") if bound.above else ("less", "lower", "raise")
    said = (
        f"{shared(bound.beyond_died, bound.died)} members that diverged have {name} = "
        f"{shown(bound.value)} or {more}, and {shared(bound.beyond_died, bound.beyond)} there "
        "diverged: "
    )
    said = said[0].upper() + said[1:]
    if bound.best:
        return said + (
            "the best is there too, so the range is right; clipped gradients, or a warm-up, may "
            "save the others."
        )
    return said + f"{move} the {end} end of its range to about {rough(bound.value)}."


def _bound(sweep: Sweep, name: str) -> Bound | None:
    rounds = np.maximum(sweep.trained.lived - 1, 0)
    values = np.asarray(sweep.settings[name], np.float64)[rounds, np.arange(len(sweep))]
    dead, there = died(sweep), ~np.isnan(values)
    bad, good = values[dead & there], values[~dead & there]
    if min(len(bad), len(good)) < FEWEST:
        return None
    below = lambda side: np.searchsorted(np.sort(good), bad, side)
    area = float(np.mean(below("left") + below("right"))) / 2 / len(good)
    deviation = np.sqrt((len(bad) + len(good) + 1) / (12 * len(bad) * len(good)))
    if max(area, 1 - area) < CLEAR or abs(area - 0.5) < SURE * deviation:
        return None
    above = area > 0.5
    sign = 1 if above else -1
    bounds = np.unique(bad)
    shares = [_share_beyond(sign * group, sign * bounds) for group in (bad, good)]
    bound = bounds[int(np.argmax(shares[0] - shares[1]))]
    beyond = lambda group: sign * group >= sign * bound
    best = values[finished(sweep.trained, "report")[0]]
    return Bound(
        name=name,
        value=float(bound),
        above=above,
        area=max(area, 1 - area),
        beyond=int(beyond(bad).sum() + beyond(good).sum()),
        beyond_died=int(beyond(bad).sum()),
        died=len(bad),
        best=bool(beyond(best)),
    )


def _share_beyond(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Returns for every bound the share of the values at it and above."""
    return 1 - np.searchsorted(np.sort(values), bounds) / len(values)
