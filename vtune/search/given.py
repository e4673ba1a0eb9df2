"""Settings given one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtune.hparams import Static
from vtune.search.base import Cohort, _check_values, _columns, _listed, _plain
from vtune.space.space import Space


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
