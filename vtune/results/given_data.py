"""Data given to a finished sweep: those that it was trained on, or others that are like them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtune.data.column_names import check_columns
from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.data.scaling import check_scaling
from vtune.engine.plan import CohortPlan
from vtune.results.fingerprint import (
    arrays_difference,
    data_difference,
    data_fingerprint,
    split_difference,
)
from vtune.results.trained import Trained, rows_of


def usable_data(caller: str, trained: Trained, given: Any) -> Data | None:
    """Returns the data that a sweep goes on with: its own, or those given, which must be the same;
    None where it was trained without data.

    Args:
      caller: the function that messages name.

    Raises:
      TypeError, ValueError: the data given are others, or there are none.
    """
    if trained.rows is None:
        if given is not None:
            raise ValueError(f"{caller}: the sweep was trained without data; leave data= out")
        return None
    data = trained.data if given is None else given
    if data is None:
        raise ValueError(
            f"{caller}: a loaded sweep holds no data; give {caller}(..., data=...) those that it "
            "was trained on"
        )
    if data is trained.data:
        return data
    if not isinstance(data, Data):
        raise TypeError(
            f"{caller}: data must be a vt.Data, got {type(data).__name__}; give the data that the "
            'sweep was trained on, such as vt.holdout({"x": X, "y": y})'
        )
    _check_form(caller, trained, data)
    for cohort in trained.plan.cohorts:
        _check_steps(caller, cohort, data)
    known = fingerprint_of(trained)
    difference = known and data_difference(known, data_fingerprint(data))
    if difference:
        raise ValueError(
            f"{caller}: these are not the data that the sweep was trained on: {difference}; give "
            "the data it was trained on (to train on others: vt.replay(learner, data, "
            "sweep.schedule(i)))"
        )
    return data


def check_repeats(caller: str, data: Data | None) -> None:
    """Raises ValueError where the batches that a sweep was trained on cannot be had again."""
    if data is not None and not data.repeats:
        raise ValueError(
            f"{caller}: the sweep was trained on {data!r}, whose batches cannot be had again; give "
            "vt.stream a function (seed, epoch) -> batches, or an iterator with get_state and "
            "set_state"
        )


def check_like(caller: str, trained: Trained, data: Data) -> None:
    """Raises ValueError where the test rows of data are not like the rows that a sweep was trained
    on, or may be among these. Data may have more entries than those trained on.
    """
    _check_form(caller, trained, data, more=True)
    known = fingerprint_of(trained)
    if known is None:
        return
    found = data_fingerprint(data)
    same = {name: found["arrays"][name] for name in known["arrays"]}
    split = split_difference(known, found)
    if split is not None and arrays_difference(known["arrays"], same) is None:
        raise ValueError(
            f"{caller}: these are the arrays that the sweep was trained on, but {split}, so it may "
            "have been trained on their test rows; give the data it was trained on, or other rows"
        )


def folds_of(trained: Trained) -> int | None:
    """Returns how many folds a sweep was trained on; None without."""
    replicates = trained.plan.replicates
    return replicates.folds if replicates is not None and replicates.folded else None


def _check_form(caller: str, trained: Trained, data: Data, more: bool = False) -> None:
    """Checks folds, entries, types, columns and scaling.

    Args:
      more: whether the data may have further entries.
    """
    folds = data.folds if isinstance(data, Folds) else None
    if folds != folds_of(trained):
        raise ValueError(
            f"{caller}: the data have {folds or 'no'} folds, the sweep was trained on data with "
            f"{folds_of(trained) or 'no'} folds; give data in as many"
        )
    difference = _rows_difference(trained.rows or {}, rows_of(data), more)
    if difference is not None:
        raise ValueError(
            f"{caller}: these are not like the data that the sweep was trained on: {difference}"
        )
    for name in set(trained.columns) & set(data.columns):
        check_columns(caller, name, trained.columns[name], data.columns[name])
    check_scaling(caller, trained.scaling, data)


def _check_steps(caller: str, cohort: CohortPlan, data: Data) -> None:
    assert cohort.batch_size is not None
    steps = data.steps_by_fold(cohort.batch_size) or data.steps_per_epoch(cohort.batch_size)
    had: Any = cohort.steps_per_epoch
    if cohort.by_fold is not None:
        had = tuple(fold.steps_per_epoch for fold in cohort.by_fold)
    if steps != had:
        raise ValueError(
            f"{caller}: the data give {steps} steps an epoch, the sweep had {had}; give the "
            "data it was trained on"
        )


def _rows_difference(rows: Mapping[str, Any], found: Mapping[str, Any], more: bool) -> str | None:
    """How rows differ in their names, shapes and types, which every file knows."""
    if set(rows) - set(found) if more else found.keys() != rows.keys():
        return f"they have the entries {sorted(found)}, those had {sorted(rows)}"
    for name, row in rows.items():
        if found[name] != list(row):
            (now, kind), (before, kind_before) = found[name], row
            return f"a row of {name!r} is {kind}{now}, there it was {kind_before}{before}"
    return None


def fingerprint_of(trained: Trained) -> Mapping[str, Any] | None:
    """Returns the fingerprint of the data trained on; None where an older file has none."""
    if trained.data is not None:
        return data_fingerprint(trained.data)
    return (trained.provenance or {}).get("data")
