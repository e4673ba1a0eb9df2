"""How the first population is drawn: Grid, Random, Halton, Given.

Structural combinations are dealt in turn: member i gets combination i mod C, so cohort sizes
never depend on the seed. Only traced values are drawn; within a cohort they come from one
sequence, so that a larger search extends a smaller one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vtune.space.space import Combination, Space
from vtune.validation import check_count, is_whole

MEMBERS = 64  # drawn where neither the search nor the refiner says how many
MOST = 10**7  # beyond it, drawing alone would fill a host's memory


class Cohort(NamedTuple):
    """The members that share one structural combination, as drawn."""

    combination: Combination
    id: np.ndarray  # [pop] int32: index in the first population
    hparams: dict[str, np.ndarray]  # traced values, each [pop], in the program's dtype


@runtime_checkable
class Search(Protocol):
    """Draws the first population. Your own search is a class with this one method."""

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        """Returns the cohorts; their ids together are 0 to n - 1, each once."""
        ...


def sized(search: Any, members: int | None) -> Any:
    """The search, drawing `members` where it says no number itself."""
    if members is not None and getattr(search, "n", members) is None:
        return replace(search, n=members)
    return search


def _deal(
    search: str, space: Space, n: int | None, skip: int, unit: Callable[..., np.ndarray]
) -> tuple[Cohort, ...]:
    """Deals points skip .. skip + n - 1 to the combinations in turn; the p-th point of a
    combination is the p-th of that cohort's own sequence `unit(cohort, first, count, dims)`."""
    n = MEMBERS if n is None else n
    count = len(space.combinations)
    if n < count:
        warnings.warn(
            f"{search}({n}) is smaller than the {count} structural combinations of the space: "
            f"{count - n} of them are not tried; ask for at least {count} members",
            stacklevel=6,  # the line that calls vt.tune
        )
    cohorts = []
    for c, combination in enumerate(space.combinations):
        points = [p for p in range(skip, skip + n) if p % count == c]
        if not points:
            continue
        u = unit(c, points[0] // count, len(points), len(combination.traced))
        hparams = {
            name: distribution.from_unit(u[:, d])
            for d, (name, distribution) in enumerate(combination.traced.items())
        }
        cohorts.append(Cohort(combination, np.asarray(points, np.int32) - skip, hparams))
    return tuple(cohorts)


def _columns(combination: Combination, table: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
    return {
        name: distribution.cast([row[d] for row in table])
        for d, (name, distribution) in enumerate(combination.traced.items())
    }


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, so that 1 is 1."""
    return value.item() if isinstance(value, np.generic) else value


def _check_values(who: str, name: str, values: Sequence[Any], distribution: Any) -> None:
    for value in values:
        if not distribution.contains(value):
            raise ValueError(f"{who} has {name}={value!r}, which is not in {distribution!r}")


def _check_count(who: str, n: Any, skip: Any) -> None:
    if n is not None and not is_whole(n):
        raise TypeError(f"{who}: n={n!r} is not a whole number")
    if n is not None and n < 1:
        raise ValueError(f"{who}: n={n}; a population has at least 1 member")
    check_count(f"{who}: skip", skip, 0)
    _check_most(who, n or MEMBERS, "draw fewer")


def _check_most(who: str, count: int, instead: str) -> None:
    if count > MOST:
        raise ValueError(f"{who}: {count:,} settings; {instead}, {MOST:,} at most")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
