"""What a search is, and what searches share: dealing members to cohorts, and checks.

Members are dealt to the structural combinations in turn: member i gets combination i mod C, so
cohort sizes never depend on the seed. Only traced values are drawn. Within a cohort they come from
one sequence, so a larger search extends a smaller one.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vtune.callers import users_line
from vtune.space.distributions import Int, Ordinal
from vtune.space.space import Combination, Space
from vtune.validation import is_whole

DEFAULT_MEMBERS = 64  # drawn where neither the search nor the refiner says how many
MAX_MEMBERS = 10**7  # beyond it, drawing alone would fill a host's memory
MAX_SKIP = 10**8  # what is skipped is drawn, too


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

    Examples:
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
        if not is_dataclass(search) or isinstance(search, type):
            raise TypeError(
                f"{type(search).__name__}: n is None, and the refiner asks for {members} members; "
                "make the search a dataclass with a field n, or let its n be the number"
            )
        return replace(search, n=members)
    return search


def drawn(search: Any, space: Space, seed: int) -> tuple[Cohort, ...]:
    """Returns the members that a search draws.

    Raises:
      TypeError, ValueError: a search of the user's own drew something else than `Search.draw` says.
    """
    cohorts = search.draw(space, seed)
    if type(search).__module__.startswith("vtune."):
        return cohorts
    who = f"{type(search).__name__}.draw"
    if not isinstance(cohorts, list | tuple) or not all(map(_is_cohort, cohorts)) or not cohorts:
        raise TypeError(
            f"{who} returned {reprlib.repr(cohorts)}; return a tuple of vt.Cohort(combination, id, "
            "hparams), one for each of space.combinations that has members (settings as dicts: "
            "search=vt.Given([...]))"
        )
    ids = np.concatenate([np.atleast_1d(cohort.id) for cohort in cohorts])
    if ids.dtype.kind not in "iu" or not np.array_equal(np.sort(ids, axis=None), range(len(ids))):
        raise ValueError(
            f"{who} gave the ids {reprlib.repr(ids.tolist())}; those of all cohorts together must "
            f"be 0 to {ids.size - 1}, each once"
        )
    return tuple(_checked(who, cohort) for cohort in cohorts)


def _is_cohort(cohort: Any) -> bool:
    return (
        isinstance(cohort, Cohort)
        and isinstance(cohort.combination, Combination)
        and isinstance(cohort.hparams, Mapping)
        and np.size(cohort.id) > 0
    )


def _checked(who: str, cohort: Cohort) -> Cohort:
    """Returns a cohort of a user's search with its values in the program's types."""
    traced, size = cohort.combination.traced, np.size(cohort.id)
    shapes = {name: np.shape(values) for name, values in cohort.hparams.items()}
    if shapes != dict.fromkeys(traced, (size,)):
        raise ValueError(
            f"{who} gave hyperparameters of the shapes {shapes} for {size} members; give every one "
            f"of {list(traced)}, each [{size}]"
        )
    for name, values in cohort.hparams.items():
        outside = np.asarray(values)[~_is_inside(traced[name], np.asarray(values))]
        if outside.size:
            raise ValueError(f"{who} gave {name}={outside[0]!r}, which is not in {traced[name]!r}")
    hparams = {name: traced[name].cast(values) for name, values in cohort.hparams.items()}
    return cohort._replace(id=np.asarray(cohort.id, np.int32), hparams=hparams)


def _is_inside(distribution: Any, values: np.ndarray) -> np.ndarray:
    """Returns which values lie in a distribution, but for how the program's type rounds them."""
    if values.dtype.kind not in "iuf":
        return np.zeros(values.shape, bool)
    if isinstance(distribution, Ordinal):
        numbers = np.asarray(distribution.values, np.float64)
        return np.isclose(values[:, None], numbers, rtol=1e-6).any(axis=1)
    whole = values == np.round(values) if isinstance(distribution, Int) else True
    rounding = 1e-6 * max(abs(distribution.low), abs(distribution.high))
    inside = (values >= distribution.low - rounding) & (values <= distribution.high + rounding)
    return inside & whole


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
    if skip > MAX_SKIP:
        raise ValueError(f"{who}: skip={skip:,} must be {MAX_SKIP:,} or less")
    check_most(who, n or DEFAULT_MEMBERS, "draw fewer")


def check_most(who: str, count: int, instead: str) -> None:
    """Raises ValueError if there are more settings than a host can draw."""
    if count > MAX_MEMBERS:
        raise ValueError(f"{who}: {count:,} settings; {instead}, {MAX_MEMBERS:,} at most")


def listed(names: Sequence[str]) -> str:
    """Returns names for an error message, quoted and separated by commas."""
    return ", ".join(map(repr, names))
