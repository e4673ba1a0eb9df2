"""The table of a sweep: a pandas DataFrame with one row per member."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.engine.recording import SPLITS
from vtune.metrics.modes import usual_mode
from vtune.results.member import Member, printable
from vtune.results.trained import Trained

if TYPE_CHECKING:
    import pandas

GENERATION = "generation"  # a column, where members were drawn by generations


def table(trained: Trained) -> pandas.DataFrame:
    """Returns the table; see `Sweep.table`."""
    pandas = import_pandas("Sweep.table()")
    index = pandas.RangeIndex(len(trained.places), name="member")
    return pandas.DataFrame(table_columns(trained), index=index)


def table_columns(trained: Trained) -> dict[str, Any]:
    """Returns the columns of the table by name, each [members]; needs no pandas."""
    records = trained.records
    members = [Member(trained, column) for column in range(len(trained.places))]
    hparams = [member.hparams for member in members]
    columns: dict[str, Any] = {
        column: [printable(h.get(name)) for h in hparams]
        for name, column in hparams_columns(trained).items()
    }
    for name, values in records.history.items():
        if values.ndim == 2:
            columns[name] = values[trained.last_trained]
            mode = mode_of(trained, name)
            if mode is not None:
                columns[f"{name}/best"], columns[f"{name}/best_round"] = peak(values, mode)
            columns |= spread(trained, name)
    size = trained.drawn.generation_size
    if size is not None:
        columns[GENERATION] = [member.index // size for member in members]
    columns["status"] = [member.status for member in members]
    compared = [trained.metric_name, f"{trained.metric_name}/std"]  # first, since print elides
    return {name: columns[name] for name in compared if name in columns} | columns


def best_rows(trained: Trained, n: int) -> pandas.DataFrame:
    """Returns the best rows of the table, with the columns to read; see `Sweep.top`."""
    read, whole = columns_to_read(trained), table(trained)
    return whole.loc[:, [name in read for name in whole.columns]].iloc[trained.ranking[:n]]


def columns_to_read(trained: Trained) -> set[str]:
    """Returns the names of the table's columns that a first look needs."""
    metrics = [name for name in trained.records.history if not name.startswith("train/")]
    hparams = hparams_columns(trained).values()
    return {f"{trained.metric_name}/std", "status", GENERATION, *metrics, *hparams}


def hparams_columns(trained: Trained) -> dict[str, str]:
    """Returns the column of every hyperparameter."""
    taken = {"status"} if trained.drawn.generation_size is None else {"status", GENERATION}
    taken = taken.union(*(_columns_of(trained, name) for name in trained.records.history))
    return {n: f"hparams/{n}" if n in taken else n for n in trained.space.names}


def _columns_of(trained: Trained, name: str) -> set[str]:
    """The columns that a metric may have."""
    return {name, f"{name}/best", f"{name}/best_round", *spread(trained, name)}


def peak(values: np.ndarray, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best finite value of every column and its round; NaN and -1 where there is none.

    Args:
      values: [rounds, members]. mode: "max" or "min".
    """
    sign = 1.0 if mode == "max" else -1.0
    finite = np.where(np.isfinite(values), values, np.nan)
    rounds = np.where(np.isnan(finite), -np.inf, sign * finite).argmax(axis=0)
    best = finite[rounds, np.arange(values.shape[1])]
    return best, np.where(np.isnan(best), -1, rounds)


def spread(trained: Trained, name: str) -> dict[str, np.ndarray]:
    """Returns columns that say how a metric's last values differ between folds and seeds.

    Empty where every member is a single training.
    """
    splits = trained.records.history.get(name + SPLITS)
    if splits is None or splits.ndim != 4:
        return {}
    last = splits[trained.last_trained]
    count, std = last[0].size, std_of_splits(last)
    columns = {
        f"{name}/std": std,
        f"{name}/se": std / np.sqrt(count - 1) if count > 1 else np.full(len(last), np.nan),
    }
    if name == trained.metric_name:
        for fold, seed in np.ndindex(*last.shape[1:]):
            columns[f"{name}/fold{fold}/seed{seed}"] = last[:, fold, seed]
    return columns


def std_of_splits(values: np.ndarray) -> np.ndarray:
    """Returns the standard deviation over folds and seeds, the last two axes, divided by n."""
    return values.astype(np.float64).std(axis=(-2, -1))


def mode_of(trained: Trained, name: str) -> str | None:
    """Returns "max" where higher values of a recorded metric are better, "min" where lower ones
    are; None where nobody said."""
    if name == trained.metric_name:
        return trained.plan.mode
    short = name.removeprefix("train/")
    return dict(trained.plan.learner.modes).get(short) or usual_mode(short)


def import_pandas(who: str) -> Any:
    """Returns pandas, which `who` needs."""
    try:
        import pandas  # slow to import, and an extra
    except ImportError:
        raise ImportError(f"{who} needs pandas: pip install 'vtune[plot]'") from None
    return pandas


def html_of(table: Callable[[], pandas.DataFrame]) -> str | None:
    """Returns a table as a notebook shows it; None without pandas, so that the text is shown."""
    try:
        return table().to_html()
    except ImportError:
        return None
