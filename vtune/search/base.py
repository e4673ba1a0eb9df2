"""What a search is, and what searches share: dealing members to cohorts, and checks.

Members are dealt to the structural combinations in turn: member i gets combination i mod C, so
cohort sizes never depend on the seed. Only traced values are drawn. Within a cohort they come from
one sequence, so a larger search extends a smaller one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vtune.callers import users_line
from vtune.space.space import Combination, Space
from vtune.validation import is_whole

DEFAULT_MEMBERS = 64  # drawn where neither the search nor the refiner says how many
MAX_MEMBERS = 10**7  # beyond it, drawing alone would fill a host's memory


class Cohort(NamedTuple):
    """The members that share one structural combination, as a search draws them.

    Attributes:
      combination: one of `space.combinations`.
      id: [pop] int32, each member's index in the first population.
      hparams: by name of every traced hyperparameter, the members' values [pop] in the program's
        dtype; a distribution's `from_unit`, `grid` and `cast` return such.
    """

    combination: Combination
    id: np.ndarray
    hparams: dict[str, np.ndarray]


@runtime_checkable
class Search(Protocol):
    """Draws the first population. Your own search is a class with the method `draw`.

    A search whose attribute `n` is None is a dataclass and draws as many members as the refiner
    asks for (see `vt.Hyperband`).

    Example:
      >>> import numpy as np, vtune as vt
      >>> from vtune.space import parse
      >>> class Middle:
      ...     '''One member a combination, with all traced values in the middle of their ranges.'''
      ...     def draw(self, space, seed):
      ...         return tuple(
      ...             vt.Cohort(
      ...                 combination,
      ...                 np.array([i], np.int32),
      ...                 {name: d.from_unit([0.5]) for name, d in combination.traced.items()},
      ...             )
      ...             for i, combination in enumerate(space.combinations)
      ...         )
      >>> space = parse({"lr": vt.Float(0, 1), "width": vt.Categorical([8, 16])})
      >>> [(c.id.item(), c.combination.choices["width"]) for c in Middle().draw(space, seed=0)]
      [(0, 8), (1, 16)]
    """

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        """Returns the members, grouped in cohorts.

        Args:
          space: the checked space. `space.combinations` holds its structural combinations, and
            each one's `traced` the distributions to draw from.
          seed: of the sweep; the same seed must give the same members.

        Returns:
          At most one `Cohort` a combination, in the order of the combinations and none empty.
          Their ids together are 0 to n - 1, each once.
        """
        ...


def sized(search: Any, members: int | None) -> Any:
    """Returns the search, set to draw `members` where it states no number itself."""
    if members is not None and getattr(search, "n", members) is None:
        return replace(search, n=members)
    return search


def deal(
    search: Any, space: Space, points: Callable[[int, int, int, int], np.ndarray]
) -> tuple[Cohort, ...]:
    """Deals the points skip to skip + n - 1 of a search to the combinations in turn.

    Args:
      search: has `n` and `skip`.
      points: (cohort, first, count, dims) -> [count, dims] points of the unit cube, from number
        `first` on in the cohort's own sequence.
    """
    n = DEFAULT_MEMBERS if search.n is None else search.n
    count = len(space.combinations)
    if n < count:
        warnings.warn(
            f"{type(search).__name__}({n}) is smaller than the {count} structural combinations of "
            f"the space: {count - n} of them are not tried; ask for at least {count} members",
            stacklevel=users_line(),
        )
    cohorts = []
    for c, combination in enumerate(space.combinations):
        numbers = [p for p in range(search.skip, search.skip + n) if p % count == c]
        if not numbers:
            continue
        u = points(c, numbers[0] // count, len(numbers), len(combination.traced))
        hparams = {
            name: distribution.from_unit(u[:, d])
            for d, (name, distribution) in enumerate(combination.traced.items())
        }
        ids = np.asarray(numbers, np.int32) - search.skip
        cohorts.append(Cohort(combination, ids, hparams))
    return tuple(cohorts)


def columns(combination: Combination, table: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
    """Turns rows of traced values into a `Cohort`'s columns by name."""
    return {
        name: distribution.cast([row[d] for row in table])
        for d, (name, distribution) in enumerate(combination.traced.items())
    }


def check_values(who: str, name: str, values: Sequence[Any], distribution: Any) -> None:
    """Raises ValueError if a value is not in the distribution."""
    for value in values:
        if not distribution.contains(value):
            raise ValueError(f"{who} has {name}={value!r}, which is not in {distribution!r}")


def check_count(search: Any) -> None:
    """Raises TypeError or ValueError if a search's `n` or `skip` is not a number of members."""
    who, n, skip = type(search).__name__, search.n, search.skip
    if n is not None and not is_whole(n):
        raise TypeError(f"{who}: n={n!r} is not a whole number")
    if n is not None and n < 1:
        raise ValueError(f"{who}: n={n}; a population has at least 1 member")
    if not is_whole(skip) or skip < 0:
        raise ValueError(f"{who}: skip={skip!r} must be a whole number, 0 or more")
    check_most(who, n or DEFAULT_MEMBERS, "draw fewer")


def check_most(who: str, count: int, instead: str) -> None:
    """Raises ValueError if there are more settings than a host can draw."""
    if count > MAX_MEMBERS:
        raise ValueError(f"{who}: {count:,} settings; {instead}, {MAX_MEMBERS:,} at most")


def listed(names: Sequence[str]) -> str:
    """Returns names for an error message, quoted and separated by commas."""
    return ", ".join(map(repr, names))
