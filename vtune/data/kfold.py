"""`vt.kfold`: which rows every fold trains on and holds out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vtune.data.draw import draw_test_rows, others
from vtune.data.fold_rows import folds_of
from vtune.data.folds import Folds
from vtune.data.host_entry import whole
from vtune.data.splitters import checked_groups, split_rows, splitter_of
from vtune.data.where import check_data
from vtune.keywords import answering
from vtune.validation import is_whole


@answering
def kfold(
    arrays: Any,
    k: Any = 5,
    *,
    stratify: str | None = None,
    groups: Any = None,
    seed: int = 0,
    test: float | None = None,
    on: str | None = None,
) -> Folds:
    """Splits rows into folds for cross-validation: each row is held out by one fold.

        data = vt.kfold({"x": X, "y": y}, k=5, stratify="y")

    A member of a sweep is then trained once in every fold, each as it would be alone. So where
    folds differ in size, as those of TimeSeriesSplit, `epochs=3` gives every fold three epochs of
    its own rows, in which a larger fold takes more steps, and `steps=100` gives every fold 100
    steps. `h["total_steps"]` and `h["steps_per_epoch"]` are the fold's own; they are traced where
    folds differ. Members are compared by the mean of their folds' scores, and refiners move all
    folds of a member together.

    Args:
      arrays: name -> array `[rows, ...]`, all of the same length; or a source of records, as for
        `vt.holdout`.
      k: number of folds, which scikit-learn's KFold, StratifiedKFold, GroupKFold or
        StratifiedGroupKFold make with a shuffle; or one of scikit-learn's splitters; or a list of
        pairs (training rows, validation rows).
      stratify: name of an entry of labels `[rows]` whose proportions all folds keep.
      groups: [rows], or the name of an entry; all rows of a group are held out by the same fold.
      seed: of the shuffle.
      test: share of all rows that are in no fold, for `Sweep.evaluate`: whole groups where there
        are groups, else drawn as `vt.holdout` draws them. Only where `k` is a number.
      on: "device" or "host", as for `vt.holdout`.

    Raises:
      TypeError, ValueError: as `vt.holdout`; there are fewer than 2 folds; or a fold has no rows,
        has rows that do not exist, or trains on rows it validates on.
      ImportError: scikit-learn is not installed (the extra `sklearn`).

    Examples:
      >>> import numpy as np
      >>> kfold({"x": np.zeros((10, 3), np.float32), "y": np.zeros(10, np.int32)}, k=3)
      Folds(x: float32[10, 3], y: int32[10]; 3 folds, train 6 to 7 rows, valid 3 to 4)
    """
    checked = check_data("kfold", arrays, on)
    rows = len(next(iter(checked.values())))
    labels = _entry(checked, "stratify", stratify)
    groups = _entry(checked, "groups", groups) if isinstance(groups, str) else groups
    groups = None if groups is None else checked_groups(groups, rows)
    if test is not None:
        return _folds_and_test(checked, k, labels, groups, seed, test)
    is_splitter = hasattr(k, "split") and not isinstance(k, str | bytes | type)
    if is_splitter or isinstance(k, str | bytes) or not isinstance(k, Iterable):
        splitter = k if is_splitter else splitter_of(k, rows, labels, groups, seed)
        return folds_of(checked, split_rows(splitter, rows, labels, groups))
    for name, given in (("stratify", labels), ("groups", groups)):
        if given is not None:
            raise ValueError(
                f"kfold: {name}= says how folds are drawn, and yours are; leave it out"
            )
    return folds_of(checked, k)


def _folds_and_test(
    arrays: Mapping[str, Any], k: Any, labels: Any, groups: Any, seed: int, test: Any
) -> Folds:
    """Returns folds of a part of the rows; the others are test rows."""
    if not is_whole(k):
        raise ValueError(
            "kfold: test= needs a number k; of your own folds leave rows out, and hand them to "
            "sweep.evaluate({...}) as arrays"
        )
    total = len(next(iter(arrays.values())))
    rows = draw_test_rows("kfold", seed, total, test, labels, groups)
    rest = others(total, rows)
    labels, groups = (None if of is None else of[rest] for of in (labels, groups))
    count = None if groups is None else len(np.unique(groups))
    if count is not None and count < k:
        raise ValueError(
            f"kfold: test={test!r} takes {len(rows)} of {total} rows, since groups stay whole, and "
            f"leaves {count} of the groups for {k} folds; take a smaller share, fewer folds or "
            "finer groups"
        )
    splitter = splitter_of(k, len(rest), labels, groups, seed, " that test= leaves")
    pairs = split_rows(splitter, len(rest), labels, groups)
    return folds_of(arrays, [(rest[a], rest[b]) for a, b in pairs]).with_test(rows)


def _entry(arrays: Mapping[str, Any], what: str, name: Any) -> Any:
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(
            f'kfold: {what}={type(name).__name__} is not the name of an entry; write {what}="y"'
        )
    if name not in arrays:
        raise ValueError(f"kfold: {what}={name!r} is not one of {list(arrays)}")
    if arrays[name].ndim != 1:
        raise ValueError(f"kfold: {what}={name!r} has shape {list(arrays[name].shape)}, not [rows]")
    return whole(arrays[name])
