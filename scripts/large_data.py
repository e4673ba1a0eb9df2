"""Data larger than memory: what a sweep on a mapped file takes, beside one in memory.

    python scripts/large_data.py           a file of 6 GB, an MLP of 128 units, 64 members
    python scripts/large_data.py --gigabytes 0.1 --quick
    python scripts/large_data.py --out docs/benchmarks/large-data

Each figure is of a process of its own, in turn:

memory   the peak of resident memory of a sweep on the whole file, less what its population takes
step     seconds a step with rows on the host, divided by those with rows in memory, on data that
         fit both ways
idle     the same sweep on a source that sleeps for half of the time that a chunk trains, divided by
         the one that does not
holdout  the peak of memory that `vt.holdout` of an array in memory takes beside it, in arrays
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, CLASSES, BATCH = 784, 10, 128
ROW = 4 * (FEATURES + 1)  # bytes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=6.0)
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--steps", type=int, default=400, help="of the sweeps that are timed")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--fitting", type=int, default=100_000, help="rows that fit both ways")
    parser.add_argument("--quick", action="store_true", help="little work, as a smoke check")
    parser.add_argument("--folder", type=Path, help="where the file is made, or was")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.members, given.steps, given.turns, given.fitting = 4, 20, 1, 3000
    return given


def made(folder: Path, gigabytes: float) -> int:
    """Makes the file where it is missing, and returns its rows."""
    rows = int(gigabytes * 1e9) // ROW
    rng, block = np.random.default_rng(0), 1 << 14
    if (folder / "x.npy").exists() and len(np.load(folder / "y.npy")) == rows:
        return rows
    y = rng.integers(0, CLASSES, rows).astype(np.int32)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, FEATURES))
    centres = rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    noise = rng.normal(size=(block, FEATURES)).astype(np.float32)
    for first in range(0, rows, block):
        labels = y[first : first + block]
        x[first : first + block] = 0.2 * centres[labels] + noise[: len(labels)]
    x.flush()
    np.save(folder / "y.npy", y)
    return rows


class Slow:
    """Rows of an array that take a while."""

    def __init__(self, array: np.ndarray, seconds_a_row: float):
        self.array, self.seconds = array, seconds_a_row
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        found = self.array[rows]
        time.sleep(self.seconds * len(found))
        return found


def tuned(given: argparse.Namespace, data: Any, steps: int) -> Any:
    """Trains the population for so many steps."""
    import flax.linen as nn
    import optax

    import vtune as vt

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(CLASSES)(nn.relu(nn.Dense(128)(x)))

    xent = optax.softmax_cross_entropy_with_integer_labels
    learner = vt.flax_learner(
        MLP(),
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=lambda logits, batch, h: xent(logits, batch["y"]),
        metrics={"accuracy": vt.metrics.accuracy},
    )
    return vt.tune(
        learner,
        {"lr": vt.Float(1e-4, 1e-2, log=True)},
        data,
        search=vt.Halton(given.members),
        steps=steps,
        rounds=1,
        batch_size=BATCH,
        metric="accuracy",
        progress=False,
    )


def resident() -> dict[str, int]:
    """The process's memory now and at its peak, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {
        line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("Vm", "Rss"))
    }
    return {name: 1024 * int(found[name]) for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}


def population_bytes(sweep: Any) -> int:
    import jax

    leaves = jax.tree.leaves([p.state for p in sweep.trained.populations])
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def child(given: argparse.Namespace) -> dict[str, Any]:
    """One figure, in this process."""
    import vtune as vt

    vt.use_all_cores()
    kind, folder = given.child, given.folder
    if kind == "holdout":
        x = np.zeros((int(1e9 if not given.quick else 3e7) // 4 // FEATURES, FEATURES), np.float32)
        x += 1
        before = resident()
        data = vt.holdout({"x": x}, on="device")
        after = resident()
        del data
        return {"copies": (after["VmHWM"] - before["VmHWM"]) / x.nbytes, "bytes": x.nbytes}
    x, y = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")
    if kind == "memory":
        start = resident()
        data = vt.holdout({"x": x, "y": y}, fraction=0.1, on="host")
        held = resident()
        sweep = tuned(given, data, given.steps)
        peak, population = resident()["VmHWM"], population_bytes(sweep)
        above = peak - population
        return {
            "rows": len(x),
            "imports": start["VmRSS"],
            "holdout": held["VmHWM"],
            "peak": peak,
            "population": population,
            "above": above,
        }
    few = slice(0, given.fitting)
    rows = np.array(x[few])
    device = vt.holdout({"x": rows, "y": y[few]}, fraction=0.02, on="device")
    host = vt.holdout({"x": rows, "y": y[few]}, fraction=0.02, on="host")
    mapped = vt.holdout({"x": x[few], "y": y[few]}, fraction=0.02, on="host")
    ways = {"in memory": device, "array on the host": host, "mapped file": mapped}
    if kind == "idle":
        given.steps *= 4  # so that the first window, which nothing hides, counts for little
        seconds = min(tuned(given, host, given.steps).timing.run for _ in range(2))
        slow = Slow(rows, seconds / 2 / given.steps / BATCH)
        slept = vt.holdout({"x": slow, "y": y[few]}, fraction=0.02, on="host")
        ways = {"array on the host": host, "one that sleeps": slept}
    timed: dict[str, list[float]] = {name: [] for name in ways}
    for data in ways.values():
        tuned(given, data, given.steps)  # compiles, and fills what is kept
    for _ in range(given.turns):
        for name, data in ways.items():
            timed[name].append(tuned(given, data, given.steps).timing.run / given.steps)
    first, *others = timed
    ratios = {
        name: [a / b for a, b in zip(timed[name], timed[first], strict=True)] for name in others
    }
    return {"seconds a step": timed, "ratios": ratios}


def run(given: argparse.Namespace, kind: str, folder: Path) -> dict[str, Any]:
    kept = [f"--{name}={getattr(given, name)}" for name in ("members", "steps", "turns", "fitting")]
    kept += ["--quick"] if given.quick else []
    command = [sys.executable, __file__, "--child", kind, "--folder", str(folder), *kept]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    given = arguments()
    if given.child:
        print(json.dumps(child(given)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = made(folder, given.gigabytes)
        found = {kind: run(given, kind, folder) for kind in ("holdout", "memory", "step", "idle")}
    lines = [f"{rows:,} rows, {rows * ROW / 1e9:.1f} GB, {given.members} members"]
    memory = found["memory"]
    lines.append(
        f"memory: peak {memory['peak'] / 1e6:.0f} MB, {memory['above'] / 1e6:.0f} MB above the "
        f"population's {memory['population'] / 1e6:.0f}; {memory['imports'] / 1e6:.0f} after the "
        f"imports, {memory['holdout'] / 1e6:.0f} after holdout"
    )
    for kind in ("step", "idle"):
        for name, ratios in found[kind]["ratios"].items():
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            lines.append(f"{kind}: {name} {statistics.median(ratios):.3f} ({spread})")
    lines.append(f"holdout: {found['holdout']['copies']:.2f} copies of an array in memory")
    print("\n".join(lines))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "large_data.json").write_text(json.dumps(found, indent=1) + "\n")
        (given.out / "large_data.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
