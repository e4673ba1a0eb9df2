"""The live bar between segments: compiling first, then rounds, the best score and time left."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

from vtune.runtime.execute import Report


@contextlib.contextmanager
def reporter(
    show: bool | None, rounds: int, members: int, label: str, sign: float
) -> Iterator[Report | None]:
    """A context that yields what `execute` reports to, or None where nothing is to be shown."""
    if show is None:
        show = sys.stderr.isatty()
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} rounds"),
        TextColumn("{task.fields[best]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("compiling", total=rounds, best="")
    spent: dict[str, float] = {}
    now: dict[str, Any] = {"phase": None, "since": time.perf_counter()}

    def report(phase: str, done: int, best: float) -> None:
        moment = time.perf_counter()
        if now["phase"] is not None:
            spent[now["phase"]] = spent.get(now["phase"], 0.0) + moment - now["since"]
        now.update(phase=phase, since=moment)
        shown = f"best {label} {sign * best:.4g}" if math.isfinite(best) else ""
        title = "compiling" if phase == "compile" else f"training {members} members"
        bar.update(task, completed=done, description=title, best=shown)
        if phase == "done":
            bar.stop()
            console.print(
                f"{members} members, {done} rounds: compiled in {spent.get('compile', 0):.1f} s, "
                f"ran in {spent.get('run', 0):.1f} s. {shown}",
                highlight=False,
            )

    with bar:
        yield report
