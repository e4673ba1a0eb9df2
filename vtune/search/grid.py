"""Grid search: every combination of evenly spaced values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vtune.search.base import Cohort, check_most, check_values, columns, listed
from vtune.space.distributions import Categorical
from vtune.space.space import Combination, Space
from vtune.validation import as_scalar, is_whole


@dataclass(frozen=True)
class Grid:
    """Grid search: every combination of evenly spaced values, each exactly once.

    Args:
      points: by name, the number of values of a `Float` or `Int`, evenly spaced on its scale with
        both ends included (1 takes the middle), or a list of the values themselves. `Int`,
        `Ordinal` and a `Float` with steps may be left out and take all their values;
        `Categorical` always takes all.

    Raises:
      TypeError, ValueError: a name is unknown, a number of points is below 1, or a value is not in
        the space.
    """

    points: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.points, Mapping):
            raise TypeError(
                f'Grid: {self.points!r} is not a dict such as vt.Grid({{"lr": 16, "decay": 4}})'
            )
        plain = {name: _plain(points) for name, points in self.points.items()}
        object.__setattr__(self, "points", plain)
        for name, points in self.points.items():
            if is_whole(points) and points < 1:
                raise ValueError(f"Grid: {name}={points} points; give at least 1")
            if not is_whole(points) and (
                not isinstance(points, Sequence | np.ndarray) or isinstance(points, str)
            ):
                raise TypeError(
                    f"Grid: {name}={points!r} is neither a number of points nor a list of values"
                )
            if not is_whole(points) and len(points) == 0:
                raise ValueError(f"Grid: {name} has an empty list of values; give at least one")

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        """Returns the grid's members, see `Search.draw`; the seed is not used."""
        del seed
        self._check_names(space)
        axes = [self._axes(combination) for combination in space.combinations]
        sizes = [math.prod(map(len, values)) for values in axes]
        check_most("Grid", sum(sizes), "take fewer points")
        tables = [list(itertools.product(*values)) for values in axes]
        # Members are dealt to the combinations in turn until the longest table is used up.
        turns = [(c, j) for j in range(max(sizes)) for c, size in enumerate(sizes) if j < size]
        ids: list[list[int]] = [[] for _ in tables]
        for i, (c, _) in enumerate(turns):
            ids[c].append(i)
        return tuple(
            Cohort(combination, np.asarray(members, np.int32), columns(combination, table))
            for combination, members, table in zip(space.combinations, ids, tables, strict=True)
        )

    def _check_names(self, space: Space) -> None:
        for name in self.points:
            if name not in space.names:
                raise ValueError(
                    f"Grid: {name!r} is not in the space (it has {listed(space.names)})"
                )
            values = [part[name] for part in space.parts if name in part]
            if not any(hasattr(v, "grid") or isinstance(v, Categorical) for v in values):
                raise ValueError(f"Grid: {name!r} is fixed to {values[0]!r}; leave it out")
            if any(isinstance(v, Categorical) for v in values):
                raise ValueError(
                    f"Grid: {name!r} is Categorical, all its choices are always taken; leave it out"
                )

    def _axes(self, combination: Combination) -> list[np.ndarray]:
        """Returns the values of every traced hyperparameter."""
        axes = []
        for name, distribution in combination.traced.items():
            points = self.points.get(name)
            count = getattr(distribution, "count", None) if points is None else points
            if count is not None and is_whole(count):  # before an array of them is made
                check_most("Grid", count, f"give {name!r} fewer points")
            try:
                if points is None or is_whole(points):
                    axes.append(distribution.grid(points))
                    continue
            except ValueError as error:
                raise ValueError(f"Grid: {name!r} {error}") from None
            check_values("Grid", name, points, distribution)
            axes.append(np.unique(distribution.cast(points)))
        return axes


def _plain(points: Any) -> Any:
    """Returns a number of points, or a list of values, with fractions and decimals as floats."""
    return list(map(as_scalar, points)) if isinstance(points, list | tuple) else as_scalar(points)
