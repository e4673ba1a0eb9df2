"""Times vtune against its peers, side by side in one process.

    python scripts/bench.py               everything, about forty minutes on two cores
    python scripts/bench.py --quick       a smoke check, about a minute
    python scripts/bench.py --only CNN    one workload
    python scripts/bench.py --device gpu
    python scripts/bench.py --device gpu --quick    populations of 1 to 4,096, within 6 minutes

Peers: a Python loop over jitted Flax steps; `jit(vmap(scan))` written plainly; for the MLPs on CPU
a program written for just that; and, where PyTorch is installed (pip install 'vtune[bench]'), a
PyTorch loop and `torch.func.vmap`. All are run in turn, again and again, and ratios are taken
within a turn, so that a machine that slows down slows all of them; so are large products and
copies, for the machine's limits, and for the MLPs on CPU the kernels of a step, each alone. Writes
bench.md, bench.json and bench.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from timing import in_turn, seconds

SECONDS = 240  # after which --quick begins no further population on a GPU


def compared(work: Any, turns: int, torch: bool, quick: bool) -> dict[str, Any]:
    """A workload: vtune, its peers, and how near vtune is to the machine's limit."""
    import jax
    import jax_peers
    import kernels
    import machine
    import ours
    import summary

    limits = machine.limits(side=64, size=1 << 12) if quick else machine.limits()
    runners: dict[Any, Any] = {"vtune": ours.tuned(work), **limits}
    for name in work.peers:
        if name == "by_hand" and jax.default_backend() != "cpu":
            continue
        if name in ("plain", "loop", "by_hand"):
            runners[name] = getattr(jax_peers, name)(work)
        elif torch:
            import torch_peers

            make = torch_peers.loop if name == "torch" else torch_peers.vmapped
            runners[name] = make(work)
    made = {
        (part, form): run
        for part, forms in (
            kernels.kernels(work, 0.001 if quick else 1.0) if "by_hand" in runners else {}
        ).items()
        for form, run in forms.items()
    }
    times = in_turn(runners | made, turns)
    spent = {name: times.pop(name) for name in limits}
    parts = {key: times.pop(key) for key in made}
    copy = spent.pop("copy")
    product = min(spent.values(), key=statistics.median)
    flops, moved = machine.needs(work)
    pairs = [(flops * own, moved * other) for own, other in zip(product, copy, strict=True)]
    least = [max(pair) for pair in pairs]
    row = {
        "batch": work.batch,
        "members": work.members,
        "targets": work.targets,
        "runners": {
            name: {
                "us": statistics.median(own),
                "all": own,
                "ratio": summary.ratio(own, times["vtune"]),
            }
            for name, own in times.items()
        },
        "limits": {"matmul": spent, "copy": copy},
        "roofline_us": statistics.median(least),
        "bound": "products" if statistics.median(a - b for a, b in pairs) > 0 else "memory",
        "roofline": summary.ratio(least, times["vtune"]),
    }
    if parts:
        total = kernels.least(parts)
        row["kernels"] = {
            "us": statistics.median(total),
            "ratio": summary.ratio(total, times["vtune"]),
            "peers": {name: summary.ratio(own, total) for name, own in times.items()},
            "alone": {f"{a}: {b}": statistics.median(own) for (a, b), own in parts.items()},
        }
    return row


def machines(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The machine's limits a second, medians over all turns of all workloads."""
    rate = lambda us: 1e6 / statistics.median(us)
    matmul = [row["limits"]["matmul"] for row in rows]
    return {
        "matmul": {name: rate([us for own in matmul for us in own[name]]) for name in matmul[0]},
        "copy": rate([us for row in rows for us in row["limits"]["copy"]]),
    }


def alone(turns: int, quick: bool) -> dict[str, Any]:
    """A population of one against a plain jitted scan of one member."""
    import jax_peers
    import ours
    import summary
    import workloads

    result = {}
    for name, steps in (("MLP-128", 2000),) if quick else (("MLP-128", 2000), ("CNN", 8)):
        turns = turns if quick or name == "CNN" else 5 * turns  # a difference of per cents
        work = workloads.WORKLOADS[name]
        work = dataclasses.replace(work, members=1, steps=4 if quick else steps, plain_steps=None)
        times = in_turn({"vtune": ours.tuned(work), "one": jax_peers.plain(work)}, turns)
        result[name] = summary.ratio(times["one"], times["vtune"])
    return result


def forms(turns: int, quick: bool) -> dict[str, float]:
    """Microseconds a member-step of the CNN, by the form of its convolutions."""
    import jax
    import ours
    import workloads

    cpu = jax.default_backend() == "cpu"
    # Two steps at least: a loop of one step is none, and its convolutions are quick.
    work = dataclasses.replace(workloads.WORKLOADS["CNN"], steps=2 if cpu else 40)
    work = work.little() if quick else work
    made = {
        f"{name}, {side}": ours.tuned(work, layout, form)
        for form, name in (
            ("none", "as written"),
            ("patches", "patches"),
            ("winograd", "Winograd"),
        )
        for layout, side in (("vmap", "all at once"), (4, "chunks of 4"), ("map", "one by one"))
        if not quick or (form, layout) == ("winograd", "vmap")
    }
    return {name: statistics.median(own) for name, own in in_turn(made, turns).items()}


def half(turns: int, quick: bool) -> dict[str, dict[str, float]]:
    """How many times quicker bfloat16 arithmetic is than float32."""
    import jax.numpy as jnp
    import ours
    import summary
    import workloads

    result = {}
    for name in ("MLP-32",) if quick else ("MLP-256", "CNN"):
        work = workloads.WORKLOADS[name]
        work = work.little() if quick else work
        other = dataclasses.replace(work, model=work.model.clone(dtype=jnp.bfloat16))
        times = in_turn({"float32": ours.tuned(work), "bfloat16": ours.tuned(other)}, turns)
        result[name] = summary.ratio(times["float32"], times["bfloat16"])
    return result


def cold(turns: int, names: list[str], quick: bool) -> dict[str, dict[str, float]]:
    """Seconds to the first result with nothing compiled, medians; see `cold.py`."""
    import cold as own

    result = {}
    for name in names:
        runs = [own.measured(name, quick) for _ in range(turns)]
        result[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return result


def versions(torch: bool) -> dict[str, str]:
    """Of what is compared, installed or only on the path."""
    names = ["vtune", "jax", "flax", "optax", *(["torch"] if torch else [])]
    return {name: importlib.import_module(name).__version__ for name in names}


def torch_is_here(device: str) -> bool:
    """Whether PyTorch is installed, and for this device."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: its peers are left out (pip install 'vtune[bench]')")
        return False
    return device == "cpu" or torch.cuda.is_available()


def only_populations(options: argparse.Namespace) -> None:
    """Times populations of 1 to 4,096; the results are written after each."""
    import machine
    import populations
    import summary

    torch = torch_is_here("cuda")

    def write(found: dict[str, Any]) -> None:
        summary.write_populations(
            {
                "date": str(datetime.date.today()),
                "machine": {"name": machine.name(), "versions": versions(torch)},
                "populations": found,
            },
            options.out,
        )

    chosen = options.only or ["MLP-128", "MLP-32"]
    populations.measured(chosen, populations.ORDER, 3, SECONDS, torch, show=write)
    print((options.out / "bench.md").read_text())


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="on a CPU little work, as a smoke check; on a GPU populations of 1 to 4,096 alone",
    )
    parser.add_argument("--only", nargs="*", help="names of workloads")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="JAX's choice when left out")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    return parser.parse_args(argv)


def bench(options: argparse.Namespace) -> None:
    """Times what the options ask for; prints and writes the results."""
    import jax
    import machine
    import ours
    import populations
    import summary
    import workloads

    if options.quick and jax.default_backend() == "gpu":
        only_populations(options)
        return
    has_torch = torch_is_here("cpu") and jax.default_backend() == "cpu"  # most peers run there
    turns = 1 if options.quick else options.turns
    chosen = [w for n, w in workloads.WORKLOADS.items() if not options.only or n in options.only]
    if options.quick:
        small = [w for w in chosen if w.name in (options.only or ("MLP-32", "CNN"))]
        chosen = [w.little() for w in small]
    pbt = ours.refined(1000)
    pbt()
    result: dict[str, Any] = {
        "date": str(datetime.date.today()),
        "machine": {"name": machine.name(), "versions": versions(has_torch)},
        "workloads": {},
        "pbt": statistics.median(seconds(pbt) for _ in range(1 if options.quick else 11)),
    }
    for work in chosen:
        print(f"{work.name} ...", flush=True)
        result["workloads"][work.name] = compared(work, turns, has_torch, options.quick)
    result["machine"] |= machines(list(result["workloads"].values()))
    if not options.only:
        result["alone"] = alone(turns, options.quick)
        result["forms"] = forms(turns, options.quick)
        if options.quick or jax.default_backend() != "cpu":  # CPUs emulate it
            result["half"] = half(turns, options.quick)
        names = ["MLP-128"] if options.quick else ["MLP-128", "CNN", "ResNet"]
        result["cold"] = cold(turns, names, options.quick)
        gpu = jax.default_backend() == "gpu"
        result["populations"] = populations.measured(
            ["MLP-32", "MLP-128"] if gpu else ["MLP-32"],
            (1,) if options.quick else populations.ORDER,
            turns,
            limit=600,
            torch=has_torch or (gpu and torch_is_here("cuda")),
            quick=options.quick,
        )
    summary.write(result, options.out)
    print(summary.table(result))
    print(f"results: {options.out}")


def main() -> None:
    options = arguments()
    if options.device:
        os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[options.device]

    import vtune as vt

    vt.use_all_cores()
    bench(options)


if __name__ == "__main__":
    main()
