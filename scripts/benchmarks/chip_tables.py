"""What programs do on chips, as a Markdown table, JSON and a bar chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TITLES = {"h200": "NVIDIA H200", "v5e": "TPU v5e"}


def write(result: dict[str, Any], out: Path) -> None:
    """Writes chips.json, chips.md and chips.png."""
    (out / "chips.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "chips.md").write_text(table(result))
    chart(result, out / "chips.png")


def table(result: dict[str, Any]) -> str:
    """All of it in Markdown."""
    lines = [
        "# On chips",
        "",
        f"{result['date']}; read off the programs that the chips' compilers make, by "
        "`scripts/accelerators.py`; no chip was there. Bytes are what the kernels of a step read "
        "and write, in MB (10^6) a member. On a TPU much of that stays on the chip, and *main "
        "memory* is what does not. The floor is `vt.Cost.floor_bytes_per_member`. *At least* is "
        "the time of a step of all members by the chip's bandwidth and rates. Where the floor is "
        "above what comes from main memory, weights stay on the chip from step to step. With folds "
        "and seeds a member is 16 trainings.",
    ]
    for chip, title in TITLES.items():
        rows = [(name, case[chip]) for name, case in result["cases"].items() if chip in case]
        if rows:
            lines += ["", f"## {title}", "", *_HEAD]
            lines += [_line(name, row) for name, row in rows]
            lines += _exchanges(rows)
    return "\n".join(lines) + "\n"


_HEAD = (
    "| | MB, vtune | plain | times | floor | main memory, vtune | plain | kernels, vtune | plain | "
    "cycles a member, vtune | plain | at least, µs | temporary, MB | plain |",
    "|" + "---|" * 14,
)


def _line(name: str, row: dict[str, Any]) -> str:
    own, plain = row["vtune"], row.get("plain", {})
    if "failed" in own:
        return f"| {name} | {own['failed'][:120]} |" + " |" * 12
    members = own["bytes"] / own["bytes_per_member"]
    mega = lambda side, key, over=1.0: _rounded(side[key] / over / 1e6) if side.get(key) else ""
    times = plain.get("bytes_per_member") and own["bytes_per_member"] / plain["bytes_per_member"]
    step = own["seconds_at_least"] / own["steps"]
    cells = [
        name,
        mega(own, "bytes_per_member"),
        mega(plain, "bytes_per_member") or ("does not fit" if plain else ""),
        f"{times:.2f}" if times else "",
        mega(own, "floor_bytes_per_member"),
        mega(own, "main_memory_bytes", members),
        mega(plain, "main_memory_bytes", members),
        str(own["kernels"]),
        str(plain.get("kernels", "")),
        *(
            f"{side['cycles'] / members:,.0f}" if side.get("cycles") else ""
            for side in (own, plain)
        ),
        f"{1e6 * step:,.0f}",
        mega(own, "temp_bytes"),
        mega(plain, "temp_bytes"),
    ]
    return f"| {' | '.join(cells)} |"


def _rounded(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _exchanges(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What devices exchange, of the cases with several."""
    lines = []
    for name, row in rows:
        own = row["vtune"]
        if own.get("devices", 1) > 1:
            said = lambda found: (
                ", ".join(f"{kind} {_rounded(bytes / 1e6)} MB" for kind, bytes in found.items())
                or "nothing"
            )
            lines += [
                "",
                f"{name}, {own['devices']} of them: in a step they exchange "
                f"{said(own['step_collectives'])}, in a round besides "
                f"{said(own['round_collectives'])}. Of the exchanges that move members one counts; "
                "a round takes a few (`docs/guides/cost.md`).",
            ]
    return lines


def chart(result: dict[str, Any], file: Path) -> None:
    """MB a member-step on each chip: vtune, plain, floor."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fits = lambda case, chip: "failed" not in case.get(chip, {}).get("vtune", {"failed": ""})
    shown = {
        title: {name: case[chip] for name, case in result["cases"].items() if fits(case, chip)}
        for chip, title in TITLES.items()
    }
    shown = {title: rows for title, rows in shown.items() if rows}
    if not shown:
        return
    figure, panels = plt.subplots(1, len(shown), figsize=(14, 6), squeeze=False)
    for panel, (title, rows) in zip(panels[0], shown.items(), strict=True):
        bars = {
            "vtune": [row["vtune"]["bytes_per_member"] for row in rows.values()],
            "plain jit(vmap(scan))": [
                row.get("plain", {}).get("bytes_per_member", 0) for row in rows.values()
            ],
            "floor": [row["vtune"]["floor_bytes_per_member"] for row in rows.values()],
        }
        for number, (label, own) in enumerate(bars.items()):
            places = [place + 0.27 * (number - 1) for place in range(len(rows))]
            panel.barh(places, [bytes / 1e6 for bytes in own], 0.25, label=label)
        panel.set_yticks(range(len(rows)), list(rows))
        panel.invert_yaxis()
        panel.set_xscale("log")
        panel.set_xlabel("MB a member-step")
        panel.set_title(title)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=3)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)
