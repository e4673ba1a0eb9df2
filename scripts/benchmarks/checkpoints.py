"""What checkpoints cost: the benchmark's MLP-128 with 64 members, with checkpoints and without.

    python scripts/benchmarks/checkpoints.py                 one a minute, one a second; a size
    python scripts/benchmarks/checkpoints.py --pairs 5 --seconds 20

Runs with and without take turns. Times are those of the program, with what looks on between its
segments; the last checkpoint, which is the finished sweep, comes after it and is shown apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ours
from workloads import WORKLOADS, Workload

import vtune as vt

WORK = WORKLOADS["MLP-128"]


def trained(work: Workload, epochs: int, checkpoint: Any = None) -> tuple[float, float]:
    """Returns the seconds of the program and those of the whole call, for so many epochs."""
    given = {**ours.sweep(work), "epochs": epochs, "rounds": epochs}
    began = time.perf_counter()
    sweep = vt.tune(**given, checkpoint=checkpoint, progress=False)
    return sweep.timing.run, time.perf_counter() - began


def pairs(epochs: int, every: float, count: int) -> list[tuple[float, float, float]]:
    """Returns by pair the ratio of the program's time and that of the call's, with and without
    checkpoints, and the seconds without."""
    seen = []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            run, call = trained(WORK, epochs, vt.Checkpoint(folder, every=every))
        plain_run, plain_call = trained(WORK, epochs)
        seen.append((run / plain_run, call / plain_call, plain_run))
    return seen


def size_and_time(members: int) -> tuple[int, float]:
    """Returns the bytes of a checkpoint of so many members and the seconds of writing it."""
    from vtune.results import checkpoint_files

    seconds: list[float] = []
    write = checkpoint_files.write_checkpoint

    def timed(*given: Any) -> None:
        began = time.perf_counter()
        write(*given)
        seconds.append(time.perf_counter() - began)

    checkpoint_files.write_checkpoint = timed
    try:
        with tempfile.TemporaryDirectory() as folder:
            stop = lambda report: vt.STOP if report.stop >= 3 else None
            given = {**ours.sweep(dataclasses.replace(WORK, members=members)), "epochs": 9}
            settings = vt.Checkpoint(folder, rounds=1)
            vt.tune(**{**given, "rounds": 9}, checkpoint=settings, callbacks=[stop])
            newest = max((Path(folder) / checkpoint_files.FOLDER).iterdir())
            files = [path.stat().st_size for path in newest.rglob("*") if path.is_file()]
    finally:
        checkpoint_files.write_checkpoint = write
    return sum(files), statistics.median(seconds)


def main() -> None:
    """Reads the command line, measures, and prints a line for each measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a run with one a second")
    parser.add_argument("--minutes", type=float, default=1.2, help="of a run with one a minute")
    given = parser.parse_args()
    trained(WORK, 2)  # compiles
    epochs = 20
    pace = trained(WORK, epochs)[0] / epochs
    for every, seconds in ((1.0, given.seconds), (60.0, 60 * given.minutes)):
        seen = pairs(max(2, round(seconds / pace)), every, given.pairs)
        run, call = (statistics.median(column) for column in list(zip(*seen, strict=True))[:2])
        ratios = ", ".join(f"{ratio:.3f}" for ratio, _, _ in seen)
        print(
            f"every {every:g} s: {run:.3f} of the time without ({ratios}); whole calls {call:.3f}; "
            f"runs of {statistics.median(plain for *_, plain in seen):.1f} s",
            flush=True,
        )
    size, seconds = size_and_time(256)
    print(f"a checkpoint of 256 members: {size / 1e6:.1f} MB, written in {seconds:.2f} s")


if __name__ == "__main__":
    main()
