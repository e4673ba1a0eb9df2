"""Ways to train the same settings, beside each other: what each takes in time and in memory."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from rich.console import Console
from rich.table import Table

import vtune as vt

STATUS = Path("/proc/self/status")


class Took(NamedTuple):
    """What a way takes.

    Attributes:
      member_step: seconds of one step of one member, without compiling: the middle one of rounds.
      program: bytes of the compiled program: what it holds, and what it needs besides.
      before, peak: bytes of the process, as Linux counts them (VmRSS, VmHWM): when the program is
        compiled and nothing is trained, and the most from there on; 0 elsewhere.
    """

    member_step: float
    program: int
    before: int
    peak: int


class Way(NamedTuple):
    """A way to train settings: its title, and a function of a task that measures it."""

    title: str
    measure: Callable[[Any], Took]


class Rounds:
    """A callback that keeps the seconds of each round."""

    most_rounds = 1

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def rounds(self, report: Any) -> None:
        self.seconds.append(report.seconds)


def of_sweep(rounds: int, steps: int, **arguments: Any) -> Took:
    """Returns what a sweep takes, in so many rounds of so many steps, and one before.

    Args:
      arguments: of `vt.tune`.
    """
    arguments |= {"rounds": 1 + rounds, "steps": steps * (1 + rounds)}
    cost, watch = vt.cost(**arguments), Rounds()
    before = _compiled()
    sweep = vt.tune(**arguments, callbacks=[watch], progress=False)
    return Took(
        statistics.median(watch.seconds[1:]) / steps / len(sweep),
        (cost.resident_bytes + cost.temp_bytes) * cost.devices,
        before,
        _bytes("VmHWM"),
    )


def of_loop(train: Any, settings: Sequence[tuple[Any, ...]], steps: int) -> Took:
    """Returns what a loop over settings takes.

    Args:
      train: a jitted function that trains one setting for so many steps.
      settings: its arguments for each; those of the first, which warms up, are not timed.
    """
    compiled = train.lower(*settings[0]).compile()
    before, taken = _compiled(), []
    for given in settings:
        began = time.perf_counter()
        jax.block_until_ready(compiled(*given))
        taken.append(time.perf_counter() - began)
    peak, found = _bytes("VmHWM"), compiled.memory_analysis()
    held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    seconds = statistics.median(taken[1:]) / steps
    return Took(seconds, held + found.temp_size_in_bytes, before, peak)


def add_arguments(
    parser: argparse.ArgumentParser, ways: Mapping[str, Way], default: str | None = None
) -> None:
    """Adds --ways, all of them where no default is given, --way and --quick."""
    names, every = list(ways), ",".join(ways)
    parser.add_argument("--ways", default=default or every, help=f"that are measured, of {every}")
    parser.add_argument("--way", choices=names, help="measures one in this process, and ends")
    parser.add_argument("--quick", action="store_true", help="tiny, and in one process: for tests")


def show(
    ways: Mapping[str, Way],
    options: argparse.Namespace,
    task: Any,
    script: str,
    arguments: Sequence[Any],
) -> None:
    """Prints a table of what each way takes that --ways names, the first beside the others.

    Args:
      options: what `add_arguments` added. task: what is given to `Way.measure`.
      script: a file that takes --way and then prints what `say` prints, so that every way has a
        process of its own, but with --quick. arguments: its others.
    """
    table = Table(title="a step of one member, and the memory of all")
    for title in ("", "ms", "times", "program, MB", "process, MB", "before training"):
        table.add_column(title, justify="right" if title else "left")
    first = None
    for name in filter(None, options.ways.split(",")):
        way = ways[name]
        took = way.measure(task) if options.quick else _elsewhere(script, name, arguments)
        first = took if first is None else first
        table.add_row(
            way.title,
            f"{1e3 * took.member_step:.4g}",
            f"{took.member_step / first.member_step:.2f}",
            f"{took.program / 1e6:,.1f}",
            f"{took.peak / 1e6:,.0f}",
            f"{took.before / 1e6:,.0f}",
        )
    Console(width=100).print(table)


def say(took: Took) -> None:
    """Prints what `show` reads."""
    print(json.dumps(took))


def kept(file: Path, make: Callable[[], Any]) -> Any:
    """Returns a tree of weights that a file has; makes and writes it where it is not there."""
    if not file.is_file():
        weights = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **flatten_dict(weights, sep="/"))
    with np.load(file) as found:
        return unflatten_dict(dict(found), sep="/")


def _elsewhere(script: str, way: str, arguments: Sequence[Any]) -> Took:
    command = [sys.executable, script, *map(str, arguments), "--way", way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Took(*json.loads(done.stdout.splitlines()[-1]))


def _compiled() -> int:
    """Gives back what compiling took, and returns the bytes that the process has left."""
    gc.collect()
    if STATUS.is_file():
        with contextlib.suppress(AttributeError, OSError):  # not of glibc, or not allowed
            ctypes.CDLL(None).malloc_trim(0)
            STATUS.with_name("clear_refs").write_text("5")  # VmHWM begins anew
    return _bytes("VmRSS")


def _bytes(name: str) -> int:
    """Returns what the operating system says of this process, by its name in /proc."""
    if not STATUS.is_file():
        return 0
    return 1024 * int(re.findall(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)[0])
