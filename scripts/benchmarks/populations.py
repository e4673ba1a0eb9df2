"""Time a member-step by population: vtune, the plain vmapped scan, a PyTorch loop; and the time
that vtune's bytes would take at the speed at which this machine copies, read off its program.

    python scripts/bench.py --device gpu --quick     MLP-128 and MLP-32, populations 1 to 4,096

Populations come in an order in which the first few tell the most, and none begins when the time is
up: what is measured until then is the result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax_peers
import machine
import ours
from timing import in_turn
from workloads import WORKLOADS, Workload

import vtune as vt

ORDER = (256, 1, 4096, 16, 1024, 64, 4)
EPOCHS = 10  # of populations below 256, which are quick


def measured(
    names: list[str],
    sizes: tuple[int, ...],
    turns: int,
    limit: float,
    torch: bool = False,
    quick: bool = False,
    show: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """By workload the microseconds a member-step of PyTorch's loop, and by population those of the
    others, with what `vt.cost` reads off vtune's program.

    Args:
      limit: seconds, after which no population begins.
      torch: whether PyTorch is there, for the same device.
      quick: little work, which only shows that the code runs.
      show: is given the results whenever there is one more.
    """
    began = time.perf_counter()
    copy = copying(turns, quick)
    result: dict[str, Any] = {"copy": copy, "workloads": {}}
    for name in names:
        work = WORKLOADS[name].little() if quick else WORKLOADS[name]
        own: dict[str, Any] = {"batch": work.batch, "torch": None, "members": {}}
        result["workloads"][name] = own
        if torch:
            own["torch"] = pytorch(work, turns)
        for size in sizes:
            if time.perf_counter() - began > limit:
                break
            epochs = 1 if quick or size >= ORDER[0] else EPOCHS
            own["members"][size] = one(replace(work, members=size, epochs=epochs), turns, copy)
            show(result)
    return result


def copying(turns: int, quick: bool = False) -> float:
    """Bytes a second, read and written, of a copy."""
    limits = machine.limits(side=64, size=1 << 12) if quick else machine.limits()
    (us,) = in_turn({"copy": limits["copy"]}, turns).values()
    return 1e6 / statistics.median(us)


def pytorch(work: Workload, turns: int) -> float:
    """Microseconds a member-step of a loop over models."""
    import torch_peers

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    (us,) = in_turn({"torch": torch_peers.loop(replace(work, members=2), device)}, turns).values()
    return statistics.median(us)


def one(work: Workload, turns: int, copy: float) -> dict[str, Any]:
    """A population."""
    made = ours.sweep(work)
    run = lambda: vt.tune(**made, progress=False)
    steps = work.members * work.steps * work.epochs
    times = in_turn({"vtune": (run, steps), "plain": jax_peers.plain(work)}, turns)
    found = vt.cost(**made)  # of the program that was timed
    return {
        **{name: statistics.median(us) for name, us in times.items()},
        "all": times,
        "kernels": found.kernels,
        "bytes_per_member": found.bytes_per_member,
        "by_bytes": 1e6 * found.bytes / copy / work.members,
    }


def table(result: dict[str, Any]) -> list[str]:
    """The results in Markdown."""
    lines = [
        "Microseconds a member-step by population. vtune's are those of whole warm calls of "
        "`vt.tune`; *by bytes* is the time that the bytes of its training steps take at "
        f"{result['copy'] / 1e9:,.0f} GB/s, as this machine copies.",
    ]
    for name, own in result["workloads"].items():
        torch = f"; a PyTorch loop takes {own['torch']:.0f}" if own["torch"] else ""
        lines += ["", f"{name}, batch {own['batch']}{torch}:", ""]
        lines += ["| members | vtune | plain jit(vmap(scan)) | times | times PyTorch | by bytes | "]
        lines[-1] += "kernels | MB a member-step |"
        lines += ["|---|---|---|---|---|---|---|---|"]
        for size, row in sorted((int(size), row) for size, row in own["members"].items()):
            against = f"{own['torch'] / row['vtune']:.1f}" if own["torch"] else ""
            lines.append(
                f"| {size:,} | {row['vtune']:.3g} | {row['plain']:.3g} | "
                f"{row['plain'] / row['vtune']:.2f} | {against} | {row['by_bytes']:.3g} | "
                f"{row['kernels']} | {row['bytes_per_member'] / 1e6:.3g} |"
            )
    return lines
