"""Sweeps of Weights & Biases, as their dictionaries say them, as vtune's distributions.

Their names and meanings are those of its sweep configuration: `values` are choices, `min` and `max`
a range, and `distribution` says which. Weights & Biases is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vtune.space.distributions import Categorical, Float, Int
from vtune.space.foreign import multiples
from vtune.validation import is_number, is_whole

_SWEEP = {  # a configuration's keys
    *("method", "metric", "metrics", "parameters", "early_terminate", "run_cap", "scheduler"),
    *("name", "description", "program", "command", "project", "entity", "controller", "imports"),
    *("job", "image_uri", "kind", "apiVersion"),
}
_ENTRY = {  # a parameter's
    *("value", "values", "min", "max", "distribution", "q", "mu", "sigma", "a", "b"),
    *("probabilities", "parameters"),
}
_TELLING = {"value", "values", "distribution", "parameters"}  # beside min and max, mu and sigma


def parameters_of(space: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the parameters of a whole sweep's configuration; any other space as it is.

    Raises:
      TypeError: an entry of a configuration is no parameter.
    """
    parameters = space.get("parameters")
    if not isinstance(parameters, Mapping) or not space.keys() <= _SWEEP:
        return space
    others = {name: value for name, value in parameters.items() if not is_entry(value)}
    if others and "method" not in space:
        return space
    for name, value in others.items():
        raise TypeError(
            f"space['parameters'][{name!r}]: {value!r} is no parameter of Weights & Biases; write "
            '{"min": low, "max": high}, {"values": [...]} or {"value": fixed}'
        )
    return parameters


def is_entry(value: Any) -> bool:
    """Whether a value is a parameter as Weights & Biases writes it."""
    if not isinstance(value, Mapping) or not value or not value.keys() <= _ENTRY:
        return False
    keys = value.keys()
    return bool(keys & _TELLING) or keys >= {"min", "max"} or keys >= {"mu", "sigma"}


def of_wandb(what: str, entry: Mapping[str, Any]) -> Any:
    """Returns what a parameter means: a distribution or a fixed value.

    Raises:
      TypeError, ValueError: vtune has none such.
    """
    if "parameters" in entry:
        raise TypeError(
            f"{what} has parameters inside, and a space is flat; write each as an entry of its "
            'own, such as "optimizer.lr"'
        )
    kind = entry.get("distribution") or _kind(entry)
    if kind in ("constant", "categorical", "categorical_w_probabilities"):
        return _listed(what, kind, entry)
    if not isinstance(kind, str) or kind not in _RANGES:
        raise TypeError(
            f"{what}: {kind!r} of Weights & Biases is no distribution of vtune's; write "
            '{"min": low, "max": high}, with "distribution": "log_uniform_values" for a '
            'logarithmic scale, or {"values": [...]}'
        )
    for key in ("min", "max"):
        if not is_number(entry.get(key)):
            raise TypeError(
                f"{what}: {key}={entry.get(key)!r} of {kind!r} is not a number; write "
                '{"min": low, "max": high}'
            )
    return _RANGES[kind](what, entry["min"], entry["max"], entry.get("q", 1.0))


def _kind(entry: Mapping[str, Any]) -> str:
    """The distribution that Weights & Biases takes where none is named."""
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical"
    if "mu" in entry:
        return "normal"
    return "int_uniform" if all(is_whole(entry.get(k)) for k in ("min", "max")) else "uniform"


def _listed(what: str, kind: str, entry: Mapping[str, Any]) -> Any:
    key = "value" if kind == "constant" else "values"
    if key not in entry:
        raise TypeError(f"{what}: {kind!r} has no {key!r}; add it")
    chances = entry.get("probabilities")
    if chances is not None and len(set(chances)) > 1:
        raise TypeError(
            f"{what}: probabilities={chances!r} differ, and vtune deals choices evenly; leave them "
            "out"
        )
    if kind == "constant":  # a list is a value here
        return Categorical([entry["value"]]) if isinstance(entry["value"], list) else entry["value"]
    return Categorical(entry["values"])


def _uniform(what: str, low: Any, high: Any, q: Any) -> Float:
    return Float(low, high)


def _int_uniform(what: str, low: Any, high: Any, q: Any) -> Int:
    return Int(_whole(low), _whole(high))


def _whole(end: Any) -> Any:
    return int(end) if end % 1 == 0 else end  # 4.0 is meant as 4


def _q_uniform(what: str, low: Any, high: Any, q: Any) -> Float | Int:
    """The multiples of `q` inside the range."""
    if not is_number(q) or q <= 0:
        raise ValueError(f"{what}: q={q!r} must be a number above 0")
    first, last = multiples(low, high, q)
    if first > last:
        raise ValueError(f"{what}: no multiple of q={q!r} lies in {low!r} to {high!r}")
    if is_whole(q):
        return Int(int(first), int(last), step=int(q) if first < last else 1)
    return Float(float(first), float(last), step=q if first < last else None)


def _log_uniform(what: str, low: Any, high: Any, q: Any) -> Float:
    """The ends are exponents."""
    try:
        return Float(math.exp(low), math.exp(high), log=True)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{what}: the ends of log_uniform are exponents, e ** {low!r} to e ** {high!r}; "
            'for the values themselves write "log_uniform_values"'
        ) from None


def _inv_log_uniform(what: str, low: Any, high: Any, q: Any) -> Float:
    return _log_uniform(what, -high, -low, q)


def _log_uniform_values(what: str, low: Any, high: Any, q: Any) -> Float:
    return Float(low, high, log=True)


def _q_log_uniform_values(what: str, low: Any, high: Any, q: Any) -> Int:
    if q != 1 or low < 1 or low % 1 or high % 1:
        raise ValueError(
            f"{what}: vtune has no steps on a logarithmic scale but those of whole numbers; write "
            '"log_uniform_values", or the values, {"values": [32, 64, 128]}'
        )
    return Int(int(low), int(high), log=True)


_RANGES = {
    "uniform": _uniform,
    "int_uniform": _int_uniform,
    "q_uniform": _q_uniform,
    "log_uniform": _log_uniform,
    "log_uniform_values": _log_uniform_values,
    "inv_log_uniform": _inv_log_uniform,
    "inv_log_uniform_values": _log_uniform_values,
    "q_log_uniform_values": _q_log_uniform_values,
}
