"""What the experiments print and write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from figures import population_figure
from rich.console import Console
from rich.table import Table

import vtune as vt


def report(sweep: vt.Sweep, out: Path) -> None:
    """Prints the five best settings; writes the sweep, its table and its figure to a folder."""
    write(sweep, out, lambda path: population_figure(sweep, path))


def write(sweep: vt.Sweep, out: Path, draw: Callable[[Path], None]) -> None:
    """As `report`, with another figure."""
    show_best(sweep, 5)
    sweep.save(out, overwrite=True)
    sweep.table().to_csv(out / "table.csv")
    draw(out / "figure.png")
    print(f"results: {out.resolve()}")


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
