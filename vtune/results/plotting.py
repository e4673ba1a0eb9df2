"""The way from a sweep to its plots, its report and its study, which read sweeps and so may not be
imported here."""

from __future__ import annotations

import importlib
import os
from typing import Any


def plots_of(sweep: Any) -> Any:
    """The plots of this sweep: `sweep.plot.axis("lr")` is `vt.plots.axis(sweep, "lr")`."""
    return importlib.import_module("vtune.plots.of_sweep").Plot(sweep)


def write_report(self: Any, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Writes a page that says what was run and what came of it, as one file of HTML.

        sweep.report("runs/first.html")

    It holds what the numbers advise, the best settings with their spread over folds and seeds, the
    pictures of `vt.plots` that make sense for the sweep, the table of all members, which a click
    sorts, and the history as JSON for others. It needs no network and no other file. The same
    sweep makes the same bytes, with the same versions of vtune and matplotlib.

    Args:
      path: of the file; folders above it are made. overwrite: whether a file there is replaced.

    Raises:
      FileExistsError: the file is there already. OSError: it cannot be written.
      TypeError, ValueError: an argument cannot work.
      ImportError: matplotlib is not installed (the extra `plot`).
    """
    importlib.import_module("vtune.report.file").write(self, path, overwrite)


def to_optuna(
    self: Any, storage: Any = None, *, name: str = "sweep", overwrite: bool = False
) -> Any:
    """Returns the sweep as a study of Optuna's, a trial a member, for its dashboard and plots.

        study = sweep.to_optuna("runs/studies.log", name="first")
        optuna.importance.get_param_importances(study)

    Trials have the hyperparameters of their last round, the metric that members are compared by as
    their value and, by round, as intermediate values, and the other columns of `table()` as
    attributes. A member that was dropped is PRUNED; one that diverged is FAIL and has no value.
    Where a refiner changed members, their parents and settings of every round are attributes.
    Functions and other objects among the choices stand there by name.

    Args:
      storage: None keeps the study in memory. A path is a journal, or SQLite where it ends in .db,
        .sqlite or .sqlite3, which takes Optuna twenty times as long; folders above it are made. An
        address such as "sqlite:///runs/a.db", or one of Optuna's storages. It may hold other
        studies.
      name: of the study. overwrite: whether a study of this name is replaced.

    Raises:
      FileExistsError: there is a study of this name. OSError: it cannot be written.
      TypeError, ValueError: an argument cannot work, or the file holds something else.
      ImportError: Optuna is not installed (the extra `optuna`).
    """
    return importlib.import_module("vtune.studies.study").to_optuna(self, storage, name, overwrite)
