"""A space: the hyperparameters by name, and all combinations of the structural ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vtune.identity import snapshot
from vtune.space.distributions import Categorical, Traced
from vtune.space.foreign import converted
from vtune.space.mistakes import check_entry, check_fixed
from vtune.space.wandb import is_entry, of_wandb, parameters_of

RESERVED = ("total_steps", "steps_per_epoch")  # filled in per cohort, for schedules


class Combination(NamedTuple):
    """One combination of structural choices, which all members of a cohort share.

    Attributes:
      traced: by name, the distributions that a search draws from.
      choices: by name, the chosen values of `Categorical` hyperparameters.
      fixed: by name, the bare values of the space.
    """

    traced: dict[str, Traced]
    choices: dict[str, Any]
    fixed: dict[str, Any]

    @property
    def static(self) -> dict[str, Any]:
        """All values that are part of the program: structural choices and bare values."""
        return {**self.fixed, **self.choices}


@dataclass(frozen=True)
class Space:
    """A checked space.

    Attributes:
      parts: the dicts that the user wrote, one unless the space is a list.
      combinations: the structural combinations of all parts, in order.
    """

    parts: tuple[dict[str, Any], ...]
    combinations: tuple[Combination, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all hyperparameters, in the order in which they were written."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part))


def parse(space: Any, saved: bool = False) -> Space:
    """Checks a space as the user wrote it and returns it parsed.

    Args:
      space: a dict name -> distribution or fixed value, or a list of such dicts (their union).
        Distributions of scipy.stats, Optuna and Ray Tune are taken for vtune's, and so are the
        dictionaries that say a sweep, or a parameter, to Weights & Biases.
      saved: whether the space was parsed before, so that its fixed values are as they are meant.

    Raises:
      TypeError, ValueError: an entry is not allowed; the message says which, and what to write.
    """
    parts = list(space) if isinstance(space, list | tuple) else [space]
    if not parts:
        raise ValueError("space: the list is empty; give at least one dict")
    copied: list[dict[str, Any]] = []
    combinations = []
    for part in parts:
        if not isinstance(part, Mapping):
            raise TypeError(
                f"space: {part!r} is not a dict of name -> vt.Float(...), vt.Int(...), "
                "vt.Ordinal([...]), vt.Categorical([...]) or a fixed value"
            )
        if not part:
            raise ValueError('space: empty; give at least one entry, such as {"lr": 1e-3}')
        if not saved:
            part = parameters_of(part)
        part = {name: _entry(name, value, saved) for name, value in part.items()}
        copied.append(part)
        traced = {k: v for k, v in part.items() if isinstance(v, Traced)}
        structural = {k: v.choices for k, v in part.items() if isinstance(v, Categorical)}
        fixed = {k: v for k, v in part.items() if k not in traced and k not in structural}
        for choice in itertools.product(*structural.values()):
            chosen = dict(zip(structural, choice, strict=True))
            combinations.append(Combination(traced, chosen, fixed))
    return Space(tuple(copied), tuple(combinations))


def _entry(name: Any, value: Any, saved: bool) -> Any:
    """Checks an entry and returns it, values as copies: they are part of a program's identity."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"space: the name {name!r} is not a non-empty string")
    if name in RESERVED:
        raise ValueError(f"space: {name!r} is filled in by vtune; choose another name")
    what = f"space[{name!r}]"
    if is_entry(value) and not saved:
        value = of_wandb(what, value)
    value = converted(what, value)
    check_entry(name, value)
    if isinstance(value, Traced):
        return value
    if isinstance(value, Categorical):
        choices = tuple(snapshot(what, choice) for choice in value.choices)
        return dataclasses.replace(value, choices=choices)
    if not saved:
        check_fixed(name, value)
    return snapshot(what, value)
