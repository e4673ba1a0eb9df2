"""The table of a sweep: a pandas DataFrame with one row per member."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.engine.recording import SPLITS
from vtune.results.member import Member, printable
from vtune.results.trained import Trained

if TYPE_CHECKING:
    import pandas


def table(trained: Trained) -> pandas.DataFrame:
    """Returns the table; see `Sweep.table`."""
    pandas = _import_pandas()
    records = trained.records
    members = [Member(trained, column) for column in range(len(trained.places))]
    hparams = [member.hparams for member in members]
    taken = {"status"}.union(*(_columns_of(trained, name) for name in records.history))
    columns: dict[str, Any] = {
        f"hparams/{name}" if name in taken else name: [printable(h.get(name)) for h in hparams]
        for name in trained.space.names
    }
    for name, values in records.history.items():
        if values.ndim == 2:
            columns[name] = values[records.ends - 1, np.arange(len(members))]
            columns[f"{name}/best"], columns[f"{name}/best_round"] = peak(
                values, mode_of(trained, name)
            )
            columns |= spread(trained, name)
    columns["status"] = [member.status for member in members]
    return pandas.DataFrame(columns, index=pandas.RangeIndex(len(members), name="member"))


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
    members = splits.shape[1]
    last = splits[trained.records.ends - 1, np.arange(members)].astype(np.float64)
    count = last[0].size
    std = last.reshape(members, count).std(axis=1)
    columns = {
        f"{name}/std": std,
        f"{name}/se": std / np.sqrt(count - 1) if count > 1 else np.full(members, np.nan),
    }
    if name == trained.metric_name:
        for fold, seed in np.ndindex(*last.shape[1:]):
            columns[f"{name}/fold{fold}/seed{seed}"] = last[:, fold, seed]
    return columns


def mode_of(trained: Trained, name: str) -> str:
    """Returns "max" where higher values of a recorded metric are better, else "min"."""
    if name == trained.metric_name:
        return trained.plan.mode
    short = name.removeprefix("train/")
    guess = "min" if short.endswith(("loss", "error")) else "max"
    return dict(trained.plan.learner.modes).get(short, guess)


def _import_pandas() -> Any:
    try:
        import pandas  # slow to import, and an extra
    except ImportError:
        raise ImportError("Sweep.table() needs pandas: pip install 'vtune[plot]'") from None
    return pandas
