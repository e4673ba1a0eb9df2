"""Runs the experiments of docs/gallery.md one after the other, then draws the pictures again and
writes the pages. `bash scripts/gallery.sh` installs what they need, and calls this.

Each is run by the command of its docstring, in a process of its own, with nothing compiled before;
the data are those of the command, or of VTUNE_DATA. What it prints is in runs/NAME.txt. One that
fails is named in the end, and the others are run all the same.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from docstrings import Experiment, every
from gallery import ROOT, grouped
from rich.console import Console
from rich.table import Table


def call(experiment: Experiment, quick: bool) -> list[str]:
    """The command of an experiment, for this interpreter and the data of VTUNE_DATA."""
    _, *words = shlex.split(experiment.command)
    data = os.environ.get("VTUNE_DATA")
    if data:
        words = [word.replace("../shared/data", data) for word in words]
    if quick:
        words += ["--quick", "--out", f"runs/quick/{experiment.name}"]
    return [sys.executable, *words]


def run(experiment: Experiment, quick: bool) -> tuple[float, bool]:
    """Runs an experiment; returns the seconds that it took, and whether it ended well."""
    folder = ROOT / "runs" / ("quick" if quick else "")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{experiment.name}.txt"
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as nothing, log.open("w") as file:
        surroundings = os.environ | {"VTUNE_CACHE_DIR": nothing}
        done = subprocess.run(
            call(experiment, quick), cwd=ROOT, env=surroundings, stdout=file, stderr=file
        )
    seconds = time.perf_counter() - began
    if done.returncode:
        print("\n".join(log.read_text().splitlines()[-10:]), file=sys.stderr)
    return seconds, done.returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    found = every()
    names = [e.name for members in grouped(found).values() for e in members]
    parser = argparse.ArgumentParser(description=__doc__.partition(".")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them when left out")
    parser.add_argument("--quick", action="store_true", help="a smoke check: no pictures, no pages")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in names:
            parser.error(f"{name!r} is none of {', '.join(names)}")

    table = Table("experiment", "")
    table.add_column("seconds here", justify="right")
    table.add_column("its docstring says", justify="right")
    whole, failed = 0.0, []
    for name in options.names or names:
        print(f"{name} ...", flush=True)
        seconds, well = run(found[name], options.quick)
        whole += seconds
        failed += [] if well else [name]
        table.add_row(name, "" if well else "failed", f"{seconds:.0f}", found[name].time)
    table.add_section()
    table.add_row("all", "", f"{whole:.0f}")
    if not options.quick:
        for script in (["pictures.py", "plots", "experiments"], ["gallery.py"]):
            done = subprocess.run([sys.executable, ROOT / "scripts" / script[0], *script[1:]])
            failed += [f"scripts/{script[0]}"] if done.returncode else []
    Console().print(table)
    if failed:
        print(f"failed: {', '.join(failed)}; runs/ has what they printed", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
