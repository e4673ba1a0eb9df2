"""`Sweep.pareto`: the members that no other beats in several metrics and costs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.metrics.modes import check_mode, nearest
from vtune.results.costs import cost_mode, cost_names, costs_of
from vtune.results.fronts import front
from vtune.results.refiners import named_objectives
from vtune.results.table import columns_to_read, mode_of, table
from vtune.results.trained import Trained

if TYPE_CHECKING:
    import pandas


def pareto(trained: Trained, names: Sequence[Any], modes: Any) -> pandas.DataFrame:
    """Returns the rows of the members that no other dominates; see `Sweep.pareto`."""
    whole = table(trained)
    own = dict(objectives_of(trained))
    chosen = list(names or own)
    _check_names(chosen, [*whole.columns, *cost_names()])
    modes = {**({} if names else own), **_checked_modes(modes, chosen)}
    signs = [_sign(trained, whole, name, modes.get(name)) for name in chosen]
    for name in chosen:
        if name not in whole.columns:
            whole[name] = costs_of(trained, name)
    worth = np.column_stack([_numbers(whole, name) for name in chosen]) * signs
    worth[~np.isfinite(worth)] = np.nan
    worth[whole["status"].str.startswith("diverged")] = np.nan
    read = columns_to_read(trained)
    others = [name for name in whole.columns if name in read and name not in chosen]
    return whole.iloc[front(worth)][[*chosen, *others]]


def objectives_of(trained: Trained) -> tuple[tuple[str, str], ...]:
    """Returns the (name, mode) pairs that a sweep was for: its own, else those of its refiner."""
    return trained.objectives or named_objectives(trained.refiner)


def _check_names(names: list[Any], known: list[str]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f'pareto: {name!r} is not a name; write sweep.pareto("accuracy", "params")'
            )
        if name not in known:
            near = nearest(name, known)
            raise ValueError(
                f"pareto: {name!r} is not one of {known}"
                + (f"; did you mean {near!r}?" if near else "")
            )
    if len(set(names)) != len(names):
        raise ValueError(f"pareto: {names} has a name twice")
    if len(names) < 2:
        given = f"{names[0]!r} alone" if names else "the sweep has no objectives of its own"
        raise ValueError(
            f'pareto: {given}; name two or more, such as sweep.pareto("accuracy", "params"), of '
            f"{known}"
        )


def _checked_modes(modes: Any, names: list[str]) -> dict[str, str]:
    if modes is None:
        return {}
    if not isinstance(modes, Mapping):
        raise TypeError(
            f'pareto: modes={modes!r} must be a dict of names, such as {{"width": "min"}}'
        )
    for name, mode in modes.items():
        if name not in names:
            raise ValueError(f"pareto: modes= has {name!r}, which is not one of {names}")
        check_mode(mode)
    return dict(modes)


def _sign(trained: Trained, whole: pandas.DataFrame, name: str, mode: str | None) -> float:
    """What the values of a column are multiplied by, so that higher is better."""
    if mode is None and name not in whole.columns:
        mode = cost_mode(name)
    if mode is None and name.removesuffix("/best") in trained.records.history:
        mode = mode_of(trained, name.removesuffix("/best"))
    if mode is None:
        raise ValueError(
            f"pareto: whether higher values of {name!r} are better is not known; write "
            f'modes={{{name!r}: "min"}} or "max"'
        )
    return -1.0 if mode == "min" else 1.0


def _numbers(whole: pandas.DataFrame, name: str) -> np.ndarray:
    try:
        return np.asarray(whole[name], np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"pareto: {name!r} holds {whole[name].iloc[0]!r}, which is no number"
        ) from None
