"""A schedule: the hyperparameters that weights lived through, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Fixed(list):
    """One value, the same in every round; stays one in a dict made of a schedule."""


class Schedule(Mapping[str, Any]):
    """By name the values of every round: [rounds] arrays of traced hyperparameters in the
    program's type, lists of structural and fixed ones. `{**schedule, "lr": [...]}` changes some.

    Attributes:
      traced: names of those that are numbers inside the program.
      options: how the weights were trained, which `vt.replay` takes over: steps, rounds (those
        planned: a dropped member's schedule ends before), batch_size, eval_batch_size, metric and
        mode.
    """

    def __init__(
        self, values: Mapping[str, Any], traced: tuple[str, ...], options: Mapping[str, Any]
    ):
        self._values = dict(values)
        self.traced = traced
        self.options = dict(options)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Schedule({self._values!r})"
