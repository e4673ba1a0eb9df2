"""What was timed, as a Markdown table, JSON and a bar chart."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import populations

NAMES = {
    "vtune": "vtune",
    "plain": "plain jit(vmap(scan))",
    "loop": "loop of jitted steps",
    "torch": "PyTorch loop",
    "torch_vmap": "torch.func.vmap",
    "by_hand": "by hand, for this machine",
    "one": "plain jitted scan, one member",
}


def ratio(times: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """How many times slower, pair by pair: median and the middle half."""
    pairs = sorted(a / b for a, b in zip(times, base, strict=True))
    quarter = len(pairs) // 4
    return {
        "median": statistics.median(pairs),
        "low": pairs[quarter],
        "high": pairs[-1 - quarter],
    }


def table(result: dict[str, Any]) -> str:
    """All of it in Markdown."""
    machine = result["machine"]
    rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in machine["matmul"].items())
    lines = [
        f"{_head(result)} float32 products, GFLOP/s: {rates}; copying "
        f"{machine['copy'] / 1e9:.0f} GB/s.",
        "",
        "Medians of pairs, in brackets their middle half. vtune's time is that of whole warm calls "
        "of `vt.tune`, drawing and scoring included; the others only train.",
        "",
        "| workload | runner | µs a member-step | times vtune's | wanted |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["workloads"].items():
        title = f"{name}, batch {row['batch']} × {row['members']}"
        for runner, own in row["runners"].items():
            against = own["ratio"]
            said = (
                ""
                if runner == "vtune"
                else f"{against['median']:.2f} ({against['low']:.2f} to {against['high']:.2f})"
            )
            wanted = row["targets"].get(runner, "")
            lines.append(f"| {title} | {NAMES[runner]} | {own['us']:.0f} | {said} | {wanted} |")
            title = ""
        reached = row["roofline"]
        lines.append(
            f"| | roofline ({row['bound']}) | {row['roofline_us']:.0f} | "
            f"{reached['median']:.2f} of it reached ({reached['low']:.2f} to "
            f"{reached['high']:.2f}) | {row['targets'].get('roofline', '')} |"
        )
        if "kernels" in row:
            lines.append(_kernels(row["kernels"]))
    for name, against in result.get("alone", {}).items():
        lines += [
            "",
            f"{name}, a population of one: a plain jitted scan takes {against['median']:.2f} times "
            f"vtune's time ({against['low']:.2f} to {against['high']:.2f}).",
        ]
    if "forms" in result:
        lines += ["", "The CNN by the form of its convolutions:", ""]
        lines += ["| convolutions, members | µs a member-step |", "|---|---|"]
        lines += [f"| {name} | {us:.0f} |" for name, us in result["forms"].items()]
    for name, gain in result.get("half", {}).items():
        lines += [
            "",
            f"{name} in bfloat16: {gain['median']:.2f} times as fast as in float32 "
            f"({gain['low']:.2f} to {gain['high']:.2f}).",
        ]
    if "cold" in result:
        lines += [
            "",
            "Seconds to the first result with nothing compiled: one member, trained and scored, by "
            "a loop of jitted steps and by vtune; the sweep's first scores; the same in a second "
            "process. The sweep is to take at most 2 times as long as one member, the second "
            "process at most 0.6 of the first.",
            "",
            "| workload | loop, one | vtune, one | sweep | times the loop | times vtune's one "
            "| second process | of the first |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, own in result["cold"].items():
            first = own["first"]
            lines.append(
                f"| {name} | {own['alone']:.1f} | {own['one']:.1f} | {first:.1f} | "
                f"{first / own['alone']:.2f} | {first / own['one']:.2f} | {own['second']:.1f} | "
                f"{own['second'] / first:.2f} |"
            )
    if "populations" in result:
        lines += ["", *populations.table(result["populations"])]
    lines += ["", f"1,000 rounds of PBT, 32 members of one weight: {result['pbt']:.3f} s warm."]
    return "\n".join(lines) + "\n"


def _head(result: dict[str, Any]) -> str:
    """When, where and with what it was measured."""
    versions = ", ".join(f"{name} {v}" for name, v in result["machine"]["versions"].items())
    return f"{result['date']}; {result['machine']['name']}; {versions}."


def _kernels(kernels: dict[str, Any]) -> str:
    """The row of a step's kernels alone, and how many times longer the peers take than these."""
    reached = kernels["ratio"]
    times = ", ".join(
        f"{NAMES[name]} {own['median']:.2f}" for name, own in kernels["peers"].items()
    )
    return (
        f"| | the step's kernels, each alone | {kernels['us']:.0f} | {reached['median']:.2f} of it "
        f"reached ({reached['low']:.2f} to {reached['high']:.2f}); times this: {times} | |"
    )


def chart(result: dict[str, Any], path: Path) -> None:
    """Bars: how many times slower than vtune."""
    try:
        import matplotlib
    except ImportError:
        print("no chart: it needs matplotlib, pip install 'vtune[plot]'")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = result["workloads"]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 1.1 * len(rows)), layout="constrained")
    colours = dict(zip(NAMES, plt.get_cmap("tab10").colors, strict=False))
    y, ticks, labelled = 0.0, [], set()
    for row in rows.values():
        start = y
        for runner, own in row["runners"].items():
            times = own["ratio"]["median"]
            label = None if runner in labelled else NAMES[runner]
            axes.barh(y, times, 0.8, color=colours[runner], label=label)
            axes.text(times * 1.03, y, f"{times:.3g}", va="center", fontsize=8)
            labelled.add(runner)
            y += 1
        ticks.append((start + y - 1) / 2)
        y += 0.6
    axes.set_yticks(ticks, [f"{n}\n× {row['members']}" for n, row in rows.items()])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"time a member-step, vtune = 1 ({result['machine']['name']})")
    axes.set_xlim(right=2 * axes.get_xlim()[1])  # room for the longest bar's number
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=150)


def write_populations(result: dict[str, Any], out: Path) -> None:
    """Writes a result that has nothing but populations."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [_head(result), "", *populations.table(result["populations"])]
    (out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "bench.md").write_text("\n".join(lines) + "\n")


def write(result: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "bench.md").write_text(table(result))
    chart(result, out / "bench.png")
