"""Grid search: every combination of evenly spaced values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vtune.search.base import Cohort, _check_most, _check_values, _columns, _listed
from vtune.space.distributions import Categorical
from vtune.space.space import Combination, Space
from vtune.validation import is_whole


@dataclass(frozen=True)
class Grid:
    """Every combination of evenly spaced values, each exactly once.

    Args:
      points: by name, how many values of a `Float` or `Int` (evenly spaced on its scale, both
        ends included; 1 takes the middle), or the list of values themselves. `Ordinal`,
        stepped and `Int` ones may be left out and give all their values; `Categorical` ones
        always do.

    Raises:
      TypeError, ValueError: on an unknown name, fewer than one point, or a value outside.
    """

    points: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.points, Mapping):
            raise TypeError(
                f'Grid: {self.points!r} is not a dict such as vt.Grid({{"lr": 16, "decay": 4}})'
            )
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
        del seed
        for name in self.points:
            if name not in space.names:
                raise ValueError(
                    f"Grid: {name!r} is not in the space (it has {_listed(space.names)})"
                )
            values = [part[name] for part in space.parts if name in part]
            if not any(hasattr(v, "grid") or isinstance(v, Categorical) for v in values):
                raise ValueError(f"Grid: {name!r} is fixed to {values[0]!r}; leave it out")
            if any(isinstance(v, Categorical) for v in values):
                raise ValueError(
                    f"Grid: {name!r} is Categorical, all its choices are always taken; leave it out"
                )
        axes = [self._axes(combination) for combination in space.combinations]
        _check_most("Grid", sum(math.prod(map(len, each)) for each in axes), "take fewer points")
        tables = [list(itertools.product(*each)) for each in axes]
        # Deal in turn until the last combination's table is used up.
        longest = max(len(table) for table in tables)
        turns = [(c, j) for j in range(longest) for c, table in enumerate(tables) if j < len(table)]
        ids = [[i for i, (c, _) in enumerate(turns) if c == own] for own in range(len(tables))]
        return tuple(
            Cohort(combination, np.asarray(own, np.int32), _columns(combination, table))
            for combination, own, table in zip(space.combinations, ids, tables, strict=True)
        )

    def _axes(self, combination: Combination) -> list[np.ndarray]:
        """The values of every traced hyperparameter."""
        axes = []
        for name, distribution in combination.traced.items():
            points = self.points.get(name)
            try:
                if points is None or is_whole(points):
                    axes.append(distribution.grid(points))
                    continue
            except ValueError as error:
                raise ValueError(f"Grid: {name!r} {error}") from None
            _check_values("Grid", name, points, distribution)
            axes.append(np.unique(distribution.cast(points)))
        return axes
