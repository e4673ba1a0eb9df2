"""What the experiments draw."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import vtune as vt

PALE, STRONG = "#9db4c0", "#d1495b"


def population_figure(sweep: vt.Sweep, path: Path) -> None:
    """Learning curves of the population, and its last scores against each hyperparameter.

    The best member is drawn in red throughout; members that diverged have no point.
    """
    table, metric = sweep.table(), sweep.metric_name
    names = [name for name in sweep.space.names if table[name].nunique() > 1]
    columns = min(3, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 3.2 * rows), layout="constrained", squeeze=False
    )
    best = sweep.best.index
    curves = sweep.history[metric]
    low, high = _range(curves, sweep.mode)
    rounds = np.arange(1, len(curves) + 1)
    first, *others = axes.flat
    first.plot(rounds, curves, color=PALE, linewidth=0.6, alpha=0.6)
    first.plot(
        rounds,
        curves[:, best],
        color=STRONG,
        linewidth=2,
        label=f"best: {sweep.best.score:.3f}",
    )
    first.set(
        xlabel="round", ylabel=metric, title=f"{len(sweep)} learning curves", ylim=(low, high)
    )
    first.legend(loc="lower right" if sweep.mode == "max" else "upper right", frameon=False)
    for axis, name in zip(others, names, strict=False):
        _score_against(axis, sweep, table, name)
        axis.set(ylim=(low, high))
    for axis in others[len(names) :]:
        axis.set_axis_off()
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def lineage_figure(sweep: vt.Sweep, path: Path, plain: vt.Sweep | None = None) -> None:
    """A refined run: the score and every traced hyperparameter over the rounds.

    Each member's own line is pale; the path of the winner's weights through the population is
    red, with a dot where they moved to another member. `plain`: the same population unrefined,
    whose best member is drawn dashed beside it.
    """
    winner, metric = sweep.best.index, sweep.metric_name
    lineage = sweep.lineage(winner)
    rounds = np.arange(1, len(lineage) + 1)
    moved = np.flatnonzero(np.diff(lineage, prepend=lineage[0]))
    columns = 1 + len(sweep.settings)
    figure, axes = plt.subplots(
        1, columns, figsize=(4.6 * columns, 3.4), layout="constrained", squeeze=False
    )
    shown = {metric: sweep.history[metric], **sweep.settings}
    for axis, (name, values) in zip(axes.flat, shown.items(), strict=True):
        axis.plot(rounds, values, color=PALE, linewidth=0.8, alpha=0.7)
        own = values[np.arange(len(lineage)), lineage]
        label = f"the winner's weights: {own[-1]:.3g}"
        axis.plot(rounds, own, color=STRONG, linewidth=2, label=label)
        axis.scatter(rounds[moved], own[moved], s=28, color=STRONG, zorder=3)
        declared = [part[name] for part in sweep.space.parts if name in part]
        if any(getattr(distribution, "log", False) for distribution in declared):
            axis.set_yscale("log")
        axis.set(xlabel="round", ylabel=name, title=f"{name} of {len(sweep)} members")
        axis.spines[["top", "right"]].set_visible(False)
    score = axes.flat[0]
    score.set_ylim(*_range(shown[metric], sweep.mode))
    if plain is not None:
        best = plain.history[metric][:, plain.best.index]
        label = f"plain search's best: {best[-1]:.3g}"
        score.plot(rounds, best, color="#444444", linestyle="--", linewidth=1.2, label=label)
    for axis in axes.flat:
        axis.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _score_against(axis: plt.Axes, sweep: vt.Sweep, table, name: str) -> None:
    values, metric, best = table[name], sweep.metric_name, sweep.best.index
    declared = [part[name] for part in sweep.space.parts if name in part]
    if values.dtype.kind in "if" and values.nunique() > 8:
        axis.scatter(values, table[metric], s=8, color=PALE)
        axis.scatter(values[best], table[metric][best], s=40, color=STRONG, zorder=3)
        if any(getattr(distribution, "log", False) for distribution in declared):
            axis.set_xscale("log")
    else:  # few values: side by side, spread a little so that points can be told apart
        labels = sorted(values.unique(), key=str if values.dtype == object else None)
        place = values.map({label: i for i, label in enumerate(labels)}).astype(float)
        spread = place + (np.arange(len(place)) * 0.618 % 1 - 0.5) * 0.5
        axis.scatter(spread, table[metric], s=8, color=PALE)
        axis.scatter(spread[best], table[metric][best], s=40, color=STRONG, zorder=3)
        axis.set_xticks(range(len(labels)), [str(label) for label in labels])
    axis.set(xlabel=name, ylabel=metric)


def _range(curves: np.ndarray, mode: str) -> tuple[float, float]:
    """The scores worth seeing: all the good ones, the bad ones down to the 5th percentile."""
    values = curves[np.isfinite(curves)]
    low, high = np.percentile(values, [5, 100] if mode == "max" else [0, 95])
    margin = 0.05 * (high - low or 1.0)
    return float(low - margin), float(high + margin)
