"""The best trials of a study of Optuna's as settings of a space."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vtune.results.fronts import front
from vtune.space.space import Space
from vtune.studies.asked import PLACES
from vtune.studies.library import optuna_module
from vtune.studies.ranges import Choices, distribution_of, values_listed, visible_names
from vtune.validation import check_count


def best_settings(study: Any, best: Any) -> list[dict[str, Any]]:
    """Returns the parameters of the best complete trials; see `Given.from_optuna`.

    Those that vtune asked for by their places are the values there.
    """
    optuna = optuna_module("from_optuna")
    if not isinstance(study, optuna.Study):
        raise TypeError(
            f"from_optuna: study must be a study of Optuna's, got {study!r}; write "
            "optuna.load_study(study_name=..., storage=...)"
        )
    check_count("from_optuna: best", best)
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if not complete:
        states = Counter(trial.state.name for trial in trials)
        has = ", ".join(f"{count} {state}" for state, count in states.items()) or "none at all"
        raise ValueError(f"from_optuna: the study has no complete trial ({has})")
    asked = study.user_attrs.get(PLACES, {})
    places = itertools.islice(_from_best(study.directions, complete), int(best))
    return [_setting(complete[place], asked) for place in places]


def _from_best(directions: Sequence[Any], trials: Sequence[Any]) -> Iterator[int]:
    """The places of trials: feasible ones first, front by front; then by how far the others are
    from it; the earlier of equal ones first."""
    signs = [1.0 if direction.name == "MAXIMIZE" else -1.0 for direction in directions]
    worth = np.array([trial.values for trial in trials]) * signs
    violations = np.array([_violation(trial) for trial in trials])
    left = np.flatnonzero(violations == 0)
    while len(left):
        places = left[front(worth[left])]
        yield from places.tolist()
        left = np.setdiff1d(left, places)
    yield from (int(i) for i in np.argsort(violations, kind="stable") if violations[i] > 0)


def _violation(trial: Any) -> float:
    """By how much a trial violates its sampler's constraints."""
    found = getattr(trial, "constraints", None) or trial.system_attrs.get("constraints") or ()
    values = found.values() if isinstance(found, Mapping) else found
    return float(sum(max(value, 0.0) for value in values))


def _setting(trial: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    setting = {}
    for param, value in trial.params.items():
        entry = asked.get(param, {})
        setting[entry.get("name", param)] = entry["values"][value] if "values" in entry else value
    return setting


def in_space(settings: Sequence[Mapping[str, Any]], space: Space) -> list[dict[str, Any]]:
    """Returns settings with the space's own names and choices, where a study has them as text."""
    names = {shown: name for name, shown in visible_names(space.names).items()}
    found = [{names.get(n, n): value for n, value in setting.items()} for setting in settings]
    for name in space.names:
        entries = [part[name] for part in space.parts if name in part]
        labels = distribution_of(entries, [])
        if not isinstance(labels, Choices):
            continue
        choices = [choice for entry in entries for choice in values_listed(entry)]
        of_label = {labels.value(choice): choice for choice in choices}
        for setting in found:
            if isinstance(setting.get(name), str):
                setting[name] = of_label.get(setting[name], setting[name])
    return found
