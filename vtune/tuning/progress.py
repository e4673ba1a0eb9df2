"""The live progress bar: first compiling, then rounds done, the best score and the time left."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

from vtune.runtime.execute import Report


@contextlib.contextmanager
def reporter(
    show: bool | None, rounds: int, members: int, label: str, sign: float
) -> Iterator[Report | None]:
    """Opens a progress bar and yields the function that `execute` reports to.

    Args:
      show: None shows the bar only if the error stream is a terminal. Where nothing is shown, None
        is yielded.
      rounds: how many the bar counts to. members: shown in the title.
      label: the metric's name. sign: 1 where higher is better, else -1.
    """
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
    seconds: defaultdict[str | None, float] = defaultdict(float)  # spent in each phase
    current: str | None = None
    since = time.perf_counter()

    def report(phase: str, done: int, best: float) -> None:
        nonlocal current, since
        now = time.perf_counter()
        seconds[current] += now - since
        current, since = phase, now
        shown = f"best {label} {sign * best:.4g}" if math.isfinite(best) else ""
        title = "compiling" if phase == "compile" else f"training {members} members"
        bar.update(task, completed=done, description=title, best=shown)
        if phase == "done":
            bar.stop()
            console.print(
                f"{members} members, {done} rounds: compiled in {seconds['compile']:.1f} s, "
                f"ran in {seconds['run']:.1f} s. {shown}",
                highlight=False,
            )

    with bar:
        yield report
