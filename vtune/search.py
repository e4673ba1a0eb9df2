"""How the first population is drawn: Grid, Random, Halton, Given.

Structural combinations are dealt in turn: member i gets combination i mod C, so cohort sizes
never depend on the seed. Only traced values are drawn; within a cohort they come from one
sequence, so that a larger search extends a smaller one.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vtune.distributions import Categorical
from vtune.space import Combination, Space
from vtune.types import Static, is_whole

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


@dataclass(frozen=True)
class Random:
    """`n` independent draws (Bergstra and Bengio 2012).

    Args:
      n: members; left out, as many as the refiner sets (Hyperband does), else 64.
      skip: draws to leave out first; `Random(m, skip=n)` adds to `Random(n)`.
    """

    n: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        _check_count("Random", self.n, self.skip)

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        def unit(cohort: int, first: int, count: int, dims: int) -> np.ndarray:
            rng = np.random.default_rng([seed, cohort])
            return rng.random((first + count, dims))[first:]

        return _deal("Random", space, self.n, self.skip, unit)


@dataclass(frozen=True)
class Halton:
    """`n` points of a scrambled Halton sequence: random search without its gaps.

    The default, as the Deep Learning Tuning Playbook advises (Godbole et al. 2023; scrambling
    after Owen 2017). Each cohort has a sequence of its own, since every C-th point of one
    sequence would fill only a part of the range.

    Args:
      n: members; left out, as many as the refiner sets (Hyperband does), else 64.
      skip: points to leave out first; `Halton(m, skip=n)` adds to `Halton(n)`.
    """

    n: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        _check_count("Halton", self.n, self.skip)

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        def unit(cohort: int, first: int, count: int, dims: int) -> np.ndarray:
            from scipy.stats import qmc  # scipy comes with jax; slow to import

            if dims == 0:
                return np.zeros((count, 0))
            sequence = qmc.Halton(dims, scramble=True, rng=np.random.default_rng([seed, cohort]))
            if first:
                sequence.fast_forward(first)
            return sequence.random(count)

        return _deal("Halton", space, self.n, self.skip, unit)


@dataclass(frozen=True)
class Given:
    """Exactly these settings: a list of dicts, one a member.

    Every traced and structural hyperparameter of the space must be given; fixed ones may be.

    Raises:
      TypeError, ValueError: on an empty list, unknown or missing names, values outside.
    """

    settings: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        if isinstance(self.settings, Mapping) or not isinstance(self.settings, Sequence):
            raise TypeError(f"Given: {self.settings!r} is not a list of dicts")
        object.__setattr__(self, "settings", tuple(self.settings))
        if not self.settings:
            raise ValueError("Given: no settings; give at least one")
        for i, setting in enumerate(self.settings):
            if not isinstance(setting, Mapping):
                raise TypeError(f"Given: setting {i} is {setting!r}, not a dict")

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        del seed
        owners = [self._owner(i, setting, space) for i, setting in enumerate(self.settings)]
        cohorts = []
        for c, combination in enumerate(space.combinations):
            own = [i for i, owner in enumerate(owners) if owner == c]
            if own:
                table = [[self.settings[i][k] for k in combination.traced] for i in own]
                columns = _columns(combination, table)
                cohorts.append(Cohort(combination, np.asarray(own, np.int32), columns))
        return tuple(cohorts)

    def _owner(self, i: int, setting: Mapping[str, Any], space: Space) -> int:
        """The combination that setting i belongs to."""
        for name in setting:
            if name not in space.names:
                raise ValueError(
                    f"Given: setting {i} has {name!r}, which is not in the space "
                    f"(it has {_listed(space.names)})"
                )
        complaints = []
        for c, combination in enumerate(space.combinations):
            missing = [k for k in (*combination.traced, *combination.choices) if k not in setting]
            static = combination.static
            other = [k for k in setting if k not in static and k not in combination.traced]
            wrong = [
                k
                for k, v in static.items()
                if k in setting and Static(_plain(setting[k])) != Static(_plain(v))
            ]
            if not missing and not other and not wrong:
                for name, distribution in combination.traced.items():
                    _check_values(f"Given: setting {i}", name, [setting[name]], distribution)
                return c
            complaints.append((len(missing) + len(other) + len(wrong), missing, other, wrong))
        _, missing, other, wrong = min(complaints, key=lambda complaint: complaint[0])
        if missing:
            raise ValueError(f"Given: setting {i} lacks {_listed(missing)}")
        if other:
            raise ValueError(
                f"Given: setting {i} has {_listed(other)}, which its part of the space has not"
            )
        name = wrong[0]
        raise ValueError(
            f"Given: setting {i} has {name}={setting[name]!r}, which is not a choice of the space"
        )


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
            stacklevel=4,
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
    if not is_whole(skip) or skip < 0:
        raise ValueError(f"{who}: skip={skip!r} must be a whole number, 0 or more")
    _check_most(who, n or MEMBERS, "draw fewer")


def _check_most(who: str, count: int, instead: str) -> None:
    if count > MOST:
        raise ValueError(f"{who}: {count:,} settings; {instead}, {MOST:,} at most")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
