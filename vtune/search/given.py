"""Settings given one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtune.hparams import Static
from vtune.search.base import Cohort, check_values, columns, listed
from vtune.space.space import Space
from vtune.validation import as_scalar


@dataclass(frozen=True)
class Given:
    """A search over exactly these settings, one member each.

    Args:
      settings: a list of dicts. Each gives all traced and structural hyperparameters of the space,
        and may give fixed ones.

    Raises:
      TypeError, ValueError: the list is empty, a name is unknown or missing, or a value is not in
        the space.
    """

    settings: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        if isinstance(self.settings, Mapping) or not isinstance(self.settings, Sequence):
            raise TypeError(f"Given: {self.settings!r} is not a list of dicts")
        if not len(self.settings):
            raise ValueError("Given: no settings; give at least one")
        for i, setting in enumerate(self.settings):
            if not isinstance(setting, Mapping):
                raise TypeError(f"Given: setting {i} is {setting!r}, not a dict")
        plain = [{k: as_scalar(v) for k, v in setting.items()} for setting in self.settings]
        object.__setattr__(self, "settings", tuple(plain))

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        """Returns the given members, see `Search.draw`; the seed is not used."""
        del seed
        numbers = [
            self._combination_of(i, setting, space) for i, setting in enumerate(self.settings)
        ]
        cohorts = []
        for c, combination in enumerate(space.combinations):
            ids = [i for i, number in enumerate(numbers) if number == c]
            if ids:
                table = [[self.settings[i][k] for k in combination.traced] for i in ids]
                hparams = columns(combination, table)
                cohorts.append(Cohort(combination, np.asarray(ids, np.int32), hparams))
        return tuple(cohorts)

    def _combination_of(self, i: int, setting: Mapping[str, Any], space: Space) -> int:
        """Returns the number of the structural combination that setting i belongs to."""
        for name in setting:
            if name not in space.names:
                raise ValueError(
                    f"Given: setting {i} has {name!r}, which is not in the space "
                    f"(it has {listed(space.names)})"
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
                    check_values(f"Given: setting {i}", name, [setting[name]], distribution)
                return c
            complaints.append((len(missing) + len(other) + len(wrong), missing, other, wrong))
        _, missing, other, wrong = min(complaints, key=lambda complaint: complaint[0])
        if missing:
            raise ValueError(f"Given: setting {i} lacks {listed(missing)}")
        if other:
            raise ValueError(
                f"Given: setting {i} has {listed(other)}, which its part of the space has not"
            )
        name = wrong[0]
        raise ValueError(
            f"Given: setting {i} has {name}={setting[name]!r}, which is not a choice of the space"
        )


def _plain(value: Any) -> Any:
    """Converts NumPy's numbers to Python's, so that they compare equal."""
    value = as_scalar(value)
    return value.item() if isinstance(value, np.generic) else value
