"""What a sampler of Optuna's is asked for: distributions of a structural combination, and the way
from a trial's parameters to the space's values and back.

    distributions = asked_distributions(space, combination)
    study.sampler = PartialFixedSampler(chosen_params(space, combination), sampler)
    trial = study.ask(fixed_distributions=distributions)
    values_of(space, combination, trial.params)  # {"lr": 0.0123, "width": 64}

Values stay in float64 for Optuna, whose ranges contain them; `distribution.cast` brings them into
the program's dtype. An `Ordinal` is asked for by its place in the list, so that a sampler knows the
order. Where parts of a space that is a list have one name for unlike things, such as a range and a
range of logarithms, the later ones are asked for as "name (2)": a study knows one kind a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtune.space.distributions import Categorical, Float, Int, Ordinal
from vtune.space.space import Combination, Space
from vtune.studies.library import optuna_distribution, optuna_module
from vtune.studies.ranges import Choices, Numbers, distribution_of, visible_names

PLACES = "vtune/asked"  # attribute of a study: what its parameters are in the space
RUN, MEMBER = "vtune/run", "vtune/member"  # attributes of a trial: who asked for it, for whom


def asked_distributions(space: Space, combination: Combination) -> dict[str, Any]:
    """Returns Optuna's distribution of every traced hyperparameter and structural choice, by the
    parameter's name. Choices are those of the whole space."""
    optuna = optuna_module("a sampler of Optuna's")
    return {
        param: optuna_distribution(optuna, found)
        for param, found in _ranges(space, combination).values()
    }


def chosen_params(space: Space, combination: Combination) -> dict[str, Any]:
    """Returns the parameters that the combination's structural choices are."""
    ranges = _ranges(space, combination)
    return {
        ranges[name][0]: ranges[name][1].value(choice)
        for name, choice in combination.choices.items()
    }


def values_of(space: Space, combination: Combination, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the hyperparameters, by their own names, that a trial's parameters stand for.

    Traced ones are Python numbers in float64, inside their ranges; structural ones are the choices
    of the combination.
    """
    values = dict(combination.choices)
    ranges = _ranges(space, combination)
    for name, distribution in combination.traced.items():
        param, _ = ranges[name]
        given = params[param]
        if isinstance(distribution, Ordinal):
            values[name] = distribution.values[given]
        else:  # Optuna counts steps in decimals, so its last one may lie above the range
            values[name] = min(max(given, distribution.low), distribution.high)
    return {name: values[name] for name in ranges}


def params_of(space: Space, combination: Combination, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters that stand for hyperparameters, as the distributions contain them.

    Args:
      values: of the traced hyperparameters at least; in the program's dtype or in float64.
    """
    params = chosen_params(space, combination)
    ranges = _ranges(space, combination)
    for name, distribution in combination.traced.items():
        param, found = ranges[name]
        value = distribution.report(values[name])
        if isinstance(distribution, Ordinal):
            params[param] = distribution.values.index(value)
        else:
            params[param] = found.value(value)
    return {param: params[param] for param, _ in ranges.values()}


def places_asked(space: Space) -> dict[str, dict[str, Any]]:
    """Returns, for the study's attribute `PLACES`, the parameters that are not the values
    themselves: of an `Ordinal` the "values" that it is a place of, and the hyperparameter's "name"
    where it is another."""
    found: dict[str, dict[str, Any]] = {}
    for combination in space.combinations:
        for name, param in _params(space, combination).items():
            entry: dict[str, Any] = {} if name == param else {"name": name}
            distribution = combination.traced.get(name)
            if isinstance(distribution, Ordinal):
                entry["values"] = list(distribution.values)
            if entry:
                found[param] = entry
    return found


def _ranges(space: Space, combination: Combination) -> dict[str, tuple[str, Any]]:
    """The parameter's name and its range or choices, by hyperparameter, in the space's order."""
    params = _params(space, combination)
    return {
        name: (params[name], _range(space, combination, name))
        for name in space.names
        if name in params
    }


def _range(space: Space, combination: Combination, name: str) -> Numbers | Choices:
    entry = combination.traced.get(name)
    if isinstance(entry, Ordinal):
        return Numbers(True, 0, len(entry.values) - 1, step=1)
    entries = [entry] if entry is not None else _entries(space, name, Categorical)
    found = distribution_of(entries, [])
    assert found is not None  # of a fixed value only
    return found


def _params(space: Space, combination: Combination) -> dict[str, str]:
    """The names of the parameters, by that of the hyperparameter."""
    shown, named = visible_names(space.names), {}
    for name in (*combination.traced, *combination.choices):
        kinds = list(dict.fromkeys(map(_kind, _entries(space, name))))
        kind = _kind(combination.traced[name]) if name in combination.traced else Categorical
        number = kinds.index(kind)
        param = shown[name]
        if number:
            param = f"{param} ({number + 1})"
            while param in shown.values():
                param += "'"
        named[name] = param
    return named


def _entries(space: Space, name: str, *kinds: type) -> list[Any]:
    """What the parts of a space have under a name, but for fixed values."""
    there = [part[name] for part in space.parts if name in part]
    return [e for e in there if isinstance(e, kinds or (Float, Int, Ordinal, Categorical))]


def _kind(entry: Any) -> Any:
    """What must be equal under one name of a study."""
    if isinstance(entry, Ordinal):
        return Ordinal, entry.values
    return Categorical if isinstance(entry, Categorical) else (type(entry), entry.log)
