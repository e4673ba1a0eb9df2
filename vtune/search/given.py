"""Settings given one by one."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vtune.hparams import Static
from vtune.search.base import Cohort, check_values, columns, listed
from vtune.space.space import Space
from vtune.validation import as_scalar


@dataclass(frozen=True)
class Given:
    """A search over exactly these settings, one member each.

    `vt.tune(..., search=[{...}, {...}])` means the same.

    Args:
      settings: a list of dicts, or a data frame with a row each. Each gives all traced and
        structural hyperparameters of the space, and may give fixed ones. What is NaN in a row is
        not given.

    Raises:
      TypeError, ValueError: the list is empty, a name is unknown or missing, or a value is not in
        the space.
    """

    settings: Sequence[Mapping[str, Any]]
    _in_space: Callable[..., Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if is_frame(self.settings):
            object.__setattr__(self, "settings", _rows(self.settings))
        if isinstance(self.settings, Mapping) or not isinstance(self.settings, Sequence):
            raise TypeError(f"Given: {self.settings!r} is not a list of dicts")
        if not len(self.settings):
            raise ValueError("Given: no settings; give at least one")
        for i, setting in enumerate(self.settings):
            if not isinstance(setting, Mapping):
                raise TypeError(f"Given: setting {i} is {setting!r}, not a dict")
        plain = [{k: as_scalar(v) for k, v in setting.items()} for setting in self.settings]
        object.__setattr__(self, "settings", tuple(plain))

    @classmethod
    def from_optuna(cls, study: Any, best: int = 16) -> Given:
        """Returns a search over the parameters of the best trials of a study of Optuna's.

            study = optuna.load_study(study_name="small", storage="sqlite:///studies.db")
            vt.tune(learner, space, data, search=vt.Given.from_optuna(study, best=8), epochs=50)

        Only complete trials count. Of a study with several objectives the Pareto front comes first,
        then the front of the others, and so on; feasible trials come before others. Choices that a
        study has as text, such as functions, are those of the space with that name.

        Args:
          study: any, also one that `sweep.to_optuna` made.
          best: how many trials; of fewer, all.

        Raises:
          TypeError, ValueError: this is no study, or it has no complete trial.
          ImportError: Optuna is not installed (the extra `optuna`).
        """
        studies = importlib.import_module("vtune.studies.best")  # which stands above searches
        given = cls(studies.best_settings(study, best))
        object.__setattr__(given, "_in_space", studies.in_space)
        return given

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        """Returns the given members, see `Search.draw`; the seed is not used."""
        del seed
        if self._in_space is not None:
            return Given(self._in_space(self.settings, space)).draw(space, 0)
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


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame of pandas, which is not imported for it."""
    return hasattr(value, "to_dict") and hasattr(value, "columns")


def _rows(frame: Any) -> list[dict[str, Any]]:
    """The rows of a data frame, without what is missing in them.

    A column of whole numbers, some of which are missing, holds floats.
    """
    rows = [
        {name: value for name, value in row.items() if not _is_missing(value)}
        for row in frame.to_dict("records")
    ]
    for name in frame.columns:
        found = [row[name] for row in rows if name in row]
        if len(found) < len(rows) and all(type(v) is float and v.is_integer() for v in found):
            for row in rows:
                if name in row:
                    row[name] = int(row[name])
    return rows


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in ("NAType", "NaTType") or (
        isinstance(value, float) and math.isnan(value)
    )


def _plain(value: Any) -> Any:
    """Converts NumPy's numbers to Python's, so that they compare equal."""
    value = as_scalar(value)
    return value.item() if isinstance(value, np.generic) else value
