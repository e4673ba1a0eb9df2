"""The functions of a learner, checked while they are traced: an error says what they were called
with, and what they return is what the program can use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from vtune.learner.calling import calling
from vtune.metrics.totals import check_rows
from vtune.returned import ReturnedError, check_arrays, check_real, described


def checked(name: str, function: Callable[..., Any], takes: str) -> Callable[..., Any]:
    """Returns the learner's function `name`, checked; one of vtune's own checks itself.

    Args:
      takes: the names of its arguments, such as "key, h, batch".
    """
    if (getattr(function, "__module__", None) or "").startswith("vtune."):
        return function
    who, names = f"the learner's {name}", takes.split(", ")

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        given = dict(zip(names, arguments, strict=False))
        with calling(who, **given):
            returned = function(*arguments)
        if name == "step":
            check_step(who, returned)
        elif name in ("score", "summarise", "weights"):
            check_metrics(who, returned)
        else:
            check_arrays(who, returned, _RETURNS[name])
        if name in ("measure", "judge") and given["batch"] is not None:
            check_rows(who, returned, given["weight"].shape[0])
        return returned

    return call


_STATE = "the state, a pytree of arrays; () for none"
_RETURNS = {
    "init": _STATE,
    "load": _STATE,
    "refresh": _STATE,
    "measure": "totals of the batch, such as a sum",
    "judge": "totals of the batch, as measure does",
    "predict": "outputs, one a row",
    "variables": "variables, such as the weights",
}


def check_step(who: str, returned: Any) -> None:
    """Raises ReturnedError unless a step returned (state, metrics)."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ReturnedError(
            f"{who} must return (state, metrics), got {described(returned)}; without metrics "
            "return (state, {})"
        )
    state, metrics = returned
    check_arrays(who, state, "(state, metrics)", " as the state")
    check_names(who, metrics, " as metrics")
    check_arrays(who, metrics, "numbers by name", " as metrics")


def check_metrics(who: str, metrics: Any) -> None:
    """Raises ReturnedError unless metrics are real numbers, or arrays of them, by name."""
    check_names(who, metrics)
    for name, value in metrics.items():
        check_real(who, value, "a real number", f" as metric {name!r}")


def check_names(who: str, metrics: Any, part: str = "") -> None:
    """Raises ReturnedError unless metrics, a part of what `who` returned, are a dict with names."""
    if not isinstance(metrics, Mapping):
        raise ReturnedError(
            f"{who} returned {described(metrics)}{part}; return a dict of metrics by name: "
            '{"loss": value}'
        )
    for name in metrics:
        if not isinstance(name, str):
            raise ReturnedError(f"{who} returned the name {name!r}; metrics are named by strings")
