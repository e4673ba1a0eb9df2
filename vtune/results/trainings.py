"""The trainings that a member consists of, by fold and seed, and the rows that folds share."""

from __future__ import annotations

import numpy as np

from vtune.engine.recording import SPLITS
from vtune.results.given_data import fingerprint_of, folds_of
from vtune.results.trained import Trained


def values_of(trained: Trained, column: int) -> np.ndarray:
    """Returns [folds, seeds] the last values of the metric that members are compared by, one for
    each training of a member; [1, 1] for a single training."""
    rounds, columns = trained.last_trained
    splits = trained.records.history.get(trained.metric_name + SPLITS)
    if splits is not None and splits.ndim == 4:
        return splits[rounds[column], columns[column]].astype(np.float64)
    history = trained.records.history[trained.metric_name]
    return np.full((1, 1), history[rounds[column], columns[column]], np.float64)


def trainings_text(trained: Trained) -> str:
    """Returns how often each member was trained: "5 folds × 3 seeds", "3 seeds", "1 training"."""
    replicates, parts = trained.plan.replicates, []
    if folds_of(trained) is not None:
        parts.append(f"{folds_of(trained)} folds")
    if replicates is not None and replicates.seeds > 1:
        parts.append(f"{replicates.seeds} seeds")
    return " × ".join(parts) or "1 training"


def valid_to_train(trained: Trained) -> float:
    """Returns validation rows by training rows, both as means over the folds.

    Of files that do not say how many there were: 1 / (folds - 1), as in a k-fold split.
    """
    counts = (fingerprint_of(trained) or {}).get("counts")
    if counts is None:
        return 1 / max((folds_of(trained) or 2) - 1, 1)
    return float(np.mean(counts["valid"]) / np.mean(counts["train"]))
