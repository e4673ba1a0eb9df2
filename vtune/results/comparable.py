"""Whether the scores of two sweeps may be compared, and their difference tested."""

from __future__ import annotations

from vtune.results.fingerprint import arrays_difference, split_difference
from vtune.results.given_data import fingerprint_of, folds_of
from vtune.results.trained import Trained


def not_comparable(trained: Trained, other: Trained) -> str | None:
    """Returns why the scores of two sweeps say nothing of each other; None where they do."""
    metric = _metric_difference(trained, other)
    if metric is not None:
        return metric
    if (trained.rows is None) != (other.rows is None):
        return "one was trained without data"
    if trained.rows is None:
        return None
    known, found = fingerprint_of(other), fingerprint_of(trained)
    if known is None or found is None:
        return "a file of an older version does not say what it was trained on"
    arrays = arrays_difference(known["arrays"], found["arrays"])
    if arrays is not None:
        return f"other data, {arrays}"
    if folds_of(trained) != folds_of(other):
        return f"{folds_of(trained) or 'no'} folds, there {folds_of(other) or 'no'}"
    return split_difference(known, found)


def _metric_difference(trained: Trained, other: Trained) -> str | None:
    here, there = trained.plan, other.plan
    if trained.metric_name != other.metric_name:
        return f"the metric is {trained.metric_name}, there {other.metric_name}"
    if here.mode != there.mode:
        return f'mode="{here.mode}", there "{there.mode}"'
    loaded = trained.provenance is not None or other.provenance is not None
    if callable(here.metric) and (loaded or here.metric is not there.metric):
        return "metric= was a function, and whether it was the same cannot be told"
    return None


def untested(trained: Trained, other: Trained) -> str | None:
    """Returns why the trainings of two sweeps that may be compared form no pairs to be tested; None
    where they do."""
    here, there = trained.plan.replicates, other.plan.replicates
    folds = folds_of(trained)
    if folds is not None:
        return None if folds > 1 else "a single fold"
    seeds = [1 if replicates is None else replicates.seeds for replicates in (here, there)]
    if seeds[0] != seeds[1]:
        return f"seeds={seeds[0]}, there {seeds[1]}"
    if seeds[0] == 1:
        return "a single training each; give seeds=, or vt.kfold"
    if trained.seed != other.seed:
        return f"seed={trained.seed}, there {other.seed}, so the seeds are no pairs"
    return None
