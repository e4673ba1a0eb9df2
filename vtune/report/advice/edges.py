"""Advice: the best lies near an edge of its range."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtune.report.words import rough, shown
from vtune.results.edges import NearEdge, near_edges, place_in
from vtune.results.no_score import finished
from vtune.results.sweep import Sweep
from vtune.space.distributions import Float, Int, Ordinal

TOP = 5
PARTS = 8


def near_an_edge(sweep: Sweep) -> str | None:
    """Returns which hyperparameters of the best lie near an edge, and where to move the range.

    A best member may lie there by chance, so others have to speak for it: three more of the best
    five lie in the outer quarter, or, of the best members of eight parts of the range, those of the
    three at the edge are first, second and third. Up to eight single values, such as those of a
    grid, are parts themselves; fewer than four say nothing.
    """
    trained = sweep.trained
    columns = finished(trained, "report")
    traced = trained.cohorts[trained.places[columns[0]][0]].combination.traced
    said = []
    for near in near_edges(trained, columns[0]):
        places = _places(sweep, columns, near.name, traced[near.name])
        inward = places if near.edge == "lower" else 1 - places
        if _others_too(inward) or _rises_towards(inward):
            said.append(_sentence(near, traced[near.name]))
    return " ".join(said) or None


def _places(sweep: Sweep, columns: list[int], name: str, distribution: Any) -> np.ndarray:
    """Where the members that have this hyperparameter stand in its range, the best first."""
    places = []
    for column in columns:
        cohort, _ = sweep.trained.places[column]
        if sweep.trained.cohorts[cohort].combination.traced.get(name) == distribution:
            places.append(place_in(distribution, sweep[column].hparams[name]))
    return np.array([place for place in places if place is not None])


def _others_too(inward: np.ndarray) -> bool:
    """Whether three more of the best five lie in the outer quarter.

    Args:
      inward: [members] how far from the edge, 0 to 1, the best first.
    """
    return bool(len(np.unique(inward)) > PARTS and np.sum(inward[1:TOP] <= 0.25) >= 3)


def _rises_towards(inward: np.ndarray) -> bool:
    """Whether the best of the three outermost parts come first, from the edge inwards."""
    values = np.unique(inward)
    if len(values) <= PARTS:
        part = np.searchsorted(values, inward)
    else:
        part = np.minimum((inward * PARTS).astype(int), PARTS - 1)
    order = list(dict.fromkeys(part.tolist()))  # by the best of each
    return len(order) > 3 and order[:3] == sorted(order)[:3]


def _sentence(near: NearEdge, distribution: Any) -> str:
    ends = f"{shown(near.low)} to {shown(near.high)}"
    return (
        f"{shown(near.name)} = {shown(near.value)} of the best member is near the {near.edge} end "
        f"of its range ({ends}), and others there are good too: {_move(near, distribution)}."
    )


def _move(near: NearEdge, distribution: Float | Int | Ordinal) -> str:
    """Where to look."""
    upper = near.edge == "upper"
    if isinstance(distribution, Ordinal):
        return f"add values {'above' if upper else 'below'} {shown(near.value)}"
    low, high = near.low, near.high
    if distribution.log:
        factor = min((high / low) ** 0.5, 10.0) ** (1 if upper else -1)
        return f"try {_ends(low * factor, high * factor, distribution)}"
    if not upper and low > 0 and high / low >= 100:
        return "search it on a logarithmic scale (log=True)"
    if not upper and low == 0:
        return (
            "leave it at 0, or search small values on a logarithmic scale, such as "
            f"{rough(high / 1000)} to {rough(high / 5)}"
        )
    half = (high - low) / 2 * (1 if upper else -1)
    lower = max(low + half, 0.0) if low >= 0 else low + half
    made = _ends(lower, high + half, distribution)
    return f"try {made}" + (", if such values can be" if upper else "")


def _ends(low: float, high: float, distribution: Float | Int) -> str:
    if isinstance(distribution, Int):
        first = max(round(low), 1) if distribution.log else round(low)
        return f"{first} to {max(round(high), first + 1)}"
    return f"{rough(low)} to {rough(high)}"
