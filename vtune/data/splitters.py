"""scikit-learn's splitters: the one that a number of folds stands for, and what each needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtune.validation import check_count, is_whole


def checked_groups(groups: Any, rows: int) -> np.ndarray:
    """Returns the group of every row.

    Raises:
      TypeError, ValueError: they are not one a row, or cannot be told apart.
    """
    try:
        groups = np.asarray(groups)
    except ValueError:  # rows of different shapes
        raise ValueError("kfold: groups= has values of different shapes; give one a row") from None
    if groups.shape != (rows,):
        raise ValueError(f"kfold: groups= has shape {list(groups.shape)}; give one a row, [{rows}]")
    try:
        np.unique(groups)
    except TypeError:
        raise TypeError(
            "kfold: groups= mixes values of several kinds, or some are missing; give whole numbers "
            "or strings"
        ) from None
    if groups.dtype.kind in "fc" and np.isnan(groups).any():
        raise ValueError("kfold: groups= holds NaN; give each of those rows a group of its own")
    return groups


def splitter_of(k: Any, rows: int, labels: Any, groups: Any, seed: Any, left: str = "") -> Any:
    """Returns the splitter that makes `k` folds of so many rows.

    Args:
      left: what took other rows away, for the message.
    """
    if not is_whole(k) or not 2 <= k <= rows:
        raise ValueError(
            f"kfold: k={k!r} must be a whole number from 2 to the {rows} rows{left}, a splitter of "
            "scikit-learn's, or a list of (training rows, validation rows)"
        )
    check_count("kfold: seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"kfold: seed={seed!r} must be below 2**32")
    try:
        from sklearn import model_selection
    except ImportError:
        raise ImportError("kfold needs scikit-learn: pip install 'vtune[sklearn]'") from None
    kinds = {
        (False, False): model_selection.KFold,
        (True, False): model_selection.StratifiedKFold,
        (False, True): model_selection.GroupKFold,
        (True, True): model_selection.StratifiedGroupKFold,
    }
    kind = kinds[labels is not None, groups is not None]
    return kind(n_splits=int(k), shuffle=True, random_state=int(seed))


def split_rows(splitter: Any, rows: int, labels: Any, groups: Any) -> list[Any]:
    """Returns the pairs (training rows, validation rows) of a splitter.

    Raises:
      ValueError: it needs labels or groups that are not given, or does not look at those that are;
        or it cannot split such rows.
    """
    name, theirs = type(splitter).__name__, type(splitter).__module__.startswith("sklearn.")
    for argument, given, kind, write in (
        ("stratify", labels, "Stratified", 'stratify="y", the entry of labels'),
        ("groups", groups, "Group", "groups=, the group of every row"),
    ):
        if given is None and theirs and kind in name:
            raise ValueError(f"kfold: {name} needs {write}")
        if given is not None and theirs and kind not in name:
            raise ValueError(
                f"kfold: {name} does not look at {argument}=; leave it out, or give a splitter "
                f"that does, or a number: k={getattr(splitter, 'n_splits', 5)}"
            )
    try:
        return list(splitter.split(np.zeros(rows), labels, groups))
    except (TypeError, ValueError) as error:
        raise type(error)(f"kfold: {name} cannot split these rows: {error}") from error
