"""What the experiments print, draw and write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import vtune as vt


def report(sweep: vt.Sweep, out: Path) -> None:
    """Prints the five best settings; writes the sweep, its table and its figure to a folder."""
    write(sweep, out, population_figure(sweep))


def write(sweep: vt.Sweep, out: Path, figure: Figure) -> None:
    """As `report`, with another figure."""
    show_best(sweep, 5)
    sweep.save(out, overwrite=True)
    sweep.table().to_csv(out / "table.csv")
    figure.savefig(out / "figure.png", dpi=150)
    print(f"results: {out.resolve()}")


def population_figure(sweep: vt.Sweep) -> Figure:
    """Learning curves, and the best score of every member against each hyperparameter."""
    table = sweep.table()
    names = [name for name in sweep.space.names if table[name].nunique() > 1]
    panels = 1 + len(names)
    columns = 2 if panels == 4 else min(3, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows), layout="constrained")  # for a page
    first, *others = figure.subplots(rows, columns, squeeze=False).flat
    vt.plots.curves(sweep, top=3, ax=first)
    if names:
        vt.plots.axis(sweep, names, ax=others[: len(names)])
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    for axes in others[len(names) :]:
        axes.set_axis_off()
    return figure


def refined_figure(sweep: vt.Sweep, plain: vt.Sweep | None = None) -> Figure:
    """A refined run: the score and every traced hyperparameter over the rounds, along the path of
    the winner's weights through the population.

    `plain`: the same population unrefined, whose best member is drawn beside it.
    """
    winner, metric = sweep.best.index, sweep.metric_name
    names = list(sweep.settings)
    columns = min(3, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    score, *others = figure.subplots(rows, columns, squeeze=False).flat
    vt.plots.curves(sweep, top=1, ax=score)
    lineage = sweep.lineage(winner)
    own = sweep.history[metric][np.arange(len(lineage)), lineage]
    score.plot(own, color="black", linewidth=2, label="the winner's weights")
    if plain is not None:
        best = plain.history[metric][:, plain.best.index]
        score.plot(best, color="#0072b2", linestyle="--", label="plain search's best")
    spare = others[len(names) :]
    score.legend(fontsize="x-small")
    if spare:  # which has room
        handles, labels = score.get_legend_handles_labels()
        score.get_legend().remove()
        spare[0].legend(handles, labels, loc="center")
    vt.plots.schedule(sweep, names, ax=others[: len(names)])
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    for axes in spare:
        axes.set_axis_off()
    return figure


def show_best(sweep: vt.Sweep, count: int) -> None:
    """The best settings as a table: hyperparameters, last scores, status."""
    metrics = [name for name, values in sweep.history.items() if values.ndim == 2]
    held = sweep.table()  # with the weights that each member holds
    table = Table(title=f"the {count} best of {len(sweep)} settings")
    for name in ("member", *sweep.space.names, *metrics, "status"):
        table.add_column(name, justify="right")
    for index in sweep.ranking[:count]:
        member = sweep[int(index)]
        values = [member.hparams.get(name, "") for name in sweep.space.names]
        values += [held.loc[member.index, name] for name in metrics]
        shown = [
            f"{v:.4g}" if isinstance(v, float) or hasattr(v, "dtype") else str(v) for v in values
        ]
        table.add_row(str(member.index), *shown, member.status)
    Console(width=max(100, 14 * len(table.columns))).print(table)
