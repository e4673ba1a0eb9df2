"""The results as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np
import outcome
import ranks


def page(found: dict[str, Any]) -> str:
    """quality.md, from what `outcome.collected` returns."""
    total = found["processor"].sum() / 3600
    head = (
        f"`python scripts/quality.py`: {len(found['tasks'])} tasks, {found['seeds']} seeds each, "
        f"{found['full']} whole trainings a search; {found['machine']}, {found['date']}; "
        f"{total:.1f} hours of processor time."
    )
    parts = ["# Is the search any good?", head, "![](quality.png)", overall(found), pairs(found)]
    return "\n\n".join([*parts, by_task(found)]) + "\n"


def overall(found: dict[str, Any]) -> str:
    """Mean ranks on validation rows, which decide, and on test rows; what it took."""
    valid, test = (ranks.ranks(found[kind].mean(axis=2)) for kind in ("best", "test"))
    curves = found["curves"].mean(axis=0)
    lines = [
        "| method | mean rank, validation | mean rank, test | normalised loss at a quarter | at "
        "the end | processor seconds a search |",
        "|---|---|---|---|---|---|",
    ]
    for m in np.argsort(valid.mean):
        quarter, end = curves[m, curves.shape[1] // 4 - 1], curves[m, -1]
        seconds = np.median(found["processor"][:, m])
        lines.append(
            f"| {found['methods'][m]} | {valid.mean[m]:.2f} | {test.mean[m]:.2f} | {quarter:.3f} | "
            f"{end:.3f} | {seconds:.1f} |"
        )
    return "\n".join(lines) + (
        f"\n\nCritical difference {valid.critical:.2f} (Nemenyi, 5 %, {valid.tasks} tasks). "
        f"Friedman's p: {valid.p:.2g} on validation, {test.p:.2g} on test rows."
    )


def pairs(found: dict[str, Any]) -> str:
    """TPE one by one beside TPE by generations, and both and all else beside random search: by
    mean ranks and by signed ranks."""
    methods, loss = found["methods"], found["best"].mean(axis=2)
    own = ranks.ranks(loss)
    wanted = [
        (outcome.GENERATIONS, outcome.ONE_BY_ONE),
        (outcome.GENERATIONS, "Random"),
        ("Halton", "Random"),
        (outcome.ONE_BY_ONE, "Random"),
        *((name, "Random") for name in ("halving", "Hyperband", "PBT")),
    ]
    lines = [
        "| | rank less rank | critical | better on | worse on | Wilcoxon's p |",
        "|---|---|---|---|---|---|",
    ]
    for a, b in wanted:
        if a in methods and b in methods:
            i, j = methods.index(a), methods.index(b)
            pair = ranks.wilcoxon(loss[:, i], loss[:, j])
            lines.append(
                f"| {a}, {b} | {own.mean[i] - own.mean[j]:+.2f} | {own.critical:.2f} | "
                f"{pair['better']} | {pair['worse']} | {pair['p']:.2g} |"
            )
    return "\n".join(lines)


def by_task(found: dict[str, Any]) -> str:
    """Mean best losses of every task, the least in bold."""
    lines = [
        "| loss on validation rows | " + " | ".join(found["methods"]) + " |",
        "|---" * (len(found["methods"]) + 1) + "|",
    ]
    for task, losses in zip(found["tasks"], found["best"].mean(axis=2), strict=True):
        cells = [f"**{loss:.4f}**" if loss == losses.min() else f"{loss:.4f}" for loss in losses]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
