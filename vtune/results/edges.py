"""Hyperparameters that lie near an edge of their range."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from vtune.results.member import Member
from vtune.results.trained import Trained
from vtune.space.distributions import Ordinal

NEAR = 0.05  # of a range


class NearEdge(NamedTuple):
    """A hyperparameter near an edge: its value, its range, and which edge, "lower" or "upper"."""

    name: str
    value: float
    low: float
    high: float
    edge: str


def near_edges(trained: Trained, column: int) -> list[NearEdge]:
    """Returns the traced hyperparameters of a member in the outer 5 % of their range, on the scale
    that they are drawn on; of an `Ordinal` of three values or more, those at its ends."""
    combination = trained.cohorts[trained.places[column][0]].combination
    hparams, found = Member(trained, column).hparams, []
    for name, distribution in combination.traced.items():
        place = place_in(distribution, hparams[name])
        if place is not None and not NEAR < place < 1 - NEAR:
            low, high = range_of(distribution)
            edge = "lower" if place <= NEAR else "upper"
            found.append(NearEdge(name, hparams[name], low, high, edge))
    return found


def range_of(distribution: Any) -> tuple[float, float]:
    """Returns the lowest and the highest value of a traced hyperparameter."""
    if isinstance(distribution, Ordinal):
        return min(distribution.values), max(distribution.values)
    return distribution.low, distribution.high


def place_in(distribution: Any, value: float) -> float | None:
    """Returns where a value lies between the edges, 0 to 1; None where nothing is between them."""
    low, high = range_of(distribution)
    count = distribution.count
    if low >= high or (count is not None and count < 3):
        return None
    if isinstance(distribution, Ordinal):
        return sum(other < value for other in distribution.values) / (count - 1)
    if distribution.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
