"""Pictures of a sweep, each of which answers one question; they need matplotlib (extra `plot`).

Every function takes a sweep (of `vt.tune`, `vt.load` or `vt.read`) and returns a matplotlib
`Figure`. With `ax=` it draws on axes of yours. Nothing is shown and nothing global is changed:
write `figure.savefig("axis.png")`. `sweep.plot.axis()` is short for `vt.plots.axis(sweep)`.

May import: `results` and what is below it, and matplotlib where something is drawn. Results know
nothing of these files; `Sweep.plot` finds them by name.
"""

from vtune.plots.curves import curves
from vtune.plots.axis import axis
from vtune.plots.isolation import isolation
from vtune.plots.parallel import parallel
from vtune.plots.heat import heat
from vtune.plots.best_of_k import best_of_k
from vtune.plots.lineage import lineage
from vtune.plots.schedule import schedule
from vtune.plots.rungs import rungs
from vtune.plots.folds import folds
from vtune.plots.pareto import pareto
from vtune.plots.time import time

__all__ = [
    "axis",
    "best_of_k",
    "curves",
    "folds",
    "heat",
    "isolation",
    "lineage",
    "parallel",
    "pareto",
    "rungs",
    "schedule",
    "time",
]
