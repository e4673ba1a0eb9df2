"""Times functions in turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(
    runners: Mapping[Any, tuple[Callable[[], Any], float]], turns: int
) -> dict[Any, list[float]]:
    """Microseconds a member-step (or whatever is counted) of every runner, turn by turn, after one
    run to warm up."""
    for run, _ in runners.values():
        run()
    times: dict[Any, list[float]] = {name: [] for name in runners}
    for _ in range(turns):
        for name, (run, count) in runners.items():
            times[name].append(1e6 * seconds(run) / count)
    return times
