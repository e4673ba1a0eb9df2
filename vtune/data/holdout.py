"""`vt.holdout` and `vt.from_splits`: data with one set of validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.column_names import check_columns
from vtune.data.dataset import Data
from vtune.data.draw import check_strata, draw_rows, share_of_rows
from vtune.data.own import CheckedArrays, on_device
from vtune.data.validate import check_arrays
from vtune.keywords import answering
from vtune.validation import check_count


@answering
def holdout(
    arrays: Mapping[str, Any],
    fraction: float = 0.2,
    seed: int = 0,
    stratify: str | None = None,
    test: float | None = None,
) -> Data:
    """Holds a random part of the rows out for validation, and another for a test on request.

    The rows depend on their number, `fraction`, `seed` and the labels of `stratify` alone, so that
    what is made of training rows only, such as a vocabulary, can be made of
    `holdout({"y": labels}, ...).train` before the other arrays are.

    Args:
      arrays: name -> array `[rows, ...]`, all of the same length.
      fraction: share of the rows to hold out, above 0 and below 1; at least one row is held out
        and one kept.
      seed: of the draw.
      stratify: name of an entry of labels `[rows]` whose proportions all parts keep.
      test: share of all rows that neither train nor validate, for `Sweep.evaluate`. The
        validation rows are the same with and without it.

    Raises:
      TypeError, ValueError: the arrays are empty, of different lengths, not numeric or not finite,
        or another argument is not allowed.

    Examples:
      >>> import numpy as np
      >>> holdout({"x": np.zeros((10, 3), np.float32), "y": np.zeros(10, np.int32)}, test=0.1)
      Data(x: float32[10, 3], y: int32[10]; train 7 rows, valid 2, test 1)
    """
    checked = check_arrays("holdout", arrays)
    rows = len(next(iter(checked.values())))
    held = share_of_rows("holdout", "fraction", fraction, rows)
    tested = 0 if test is None else share_of_rows("holdout", "test", test, rows)
    check_count("holdout: seed", seed, 0)
    if rows - held - tested < 1 or not held:
        raise ValueError(
            f"holdout: {rows} row{'s' if rows > 1 else ''} cannot be split into {held or 1} for "
            f"validation{f', {tested} to test' if tested else ''} and some to train on; give more "
            "rows, or hold fewer out"
        )
    rng, labels = np.random.default_rng(seed), _stratifying(checked, stratify)
    if labels is not None:
        check_strata("holdout", labels, 2 if test is None else 3)
    valid = np.sort(draw_rows(rng, np.arange(rows), held, labels))
    rest = np.setdiff1d(np.arange(rows), valid)
    test_rows = None
    if test is not None:
        test_rows = np.sort(draw_rows(rng, rest, tested, labels))
        rest = np.setdiff1d(rest, test_rows)
    return _data_of(checked, rest, valid).with_test(test_rows)


def _stratifying(arrays: Mapping[str, np.ndarray], name: Any) -> np.ndarray | None:
    """Returns the entry whose proportions all parts keep."""
    if name is not None and not isinstance(name, str):
        raise TypeError(
            f"holdout: stratify={type(name).__name__} is not the name of an entry; write "
            'stratify="y"'
        )
    if name is not None and name not in arrays:
        raise ValueError(f"holdout: stratify={name!r} is not one of {list(arrays)}")
    return None if name is None else arrays[name]


@answering
def from_splits(
    train: Mapping[str, Any], valid: Mapping[str, Any], test: Mapping[str, Any] | None = None
) -> Data:
    """Joins a training set and a validation set that you already have.

    Args:
      train, valid: name -> array `[rows, ...]`, with the same names, dtypes and row shapes.
      test: another one, whose rows neither train nor validate, for `Sweep.evaluate`.

    Raises:
      TypeError, ValueError: as `holdout`, and if the sets do not match.
    """
    parts = {"train": train, "valid": valid} | ({} if test is None else {"test": test})
    sets = {part: check_arrays(f"from_splits: {part}", given) for part, given in parts.items()}
    first = sets["train"]
    for part, arrays in sets.items():
        if arrays.keys() != first.keys():
            raise ValueError(
                f"from_splits: train has {sorted(first)}, {part} has {sorted(arrays)}; give the "
                "same"
            )
        for name, a in first.items():
            b = arrays[name]
            if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
                raise ValueError(
                    f"from_splits: {name!r} is {a.dtype}{list(a.shape[1:])} a row in train and "
                    f"{b.dtype}{list(b.shape[1:])} in {part}; make them alike"
                )
    for part, arrays in sets.items():
        for name, names in arrays.columns.items():
            check_columns(f"from_splits: {part}", name, first.columns.get(name, names), names)
    joined = CheckedArrays({k: np.concatenate([s[k] for s in sets.values()]) for k in first})
    joined.columns = first.columns
    for name in set().union(*(s.uncast for s in sets.values())):
        given = [s.uncast.get(name, s[name]) for s in sets.values()]
        joined.uncast[name] = np.concatenate(given)
    ends = np.cumsum([len(next(iter(s.values()))) for s in sets.values()])
    of = dict(zip(sets, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    return _data_of(joined, of["train"], of["valid"]).with_test(of.get("test"))


def _data_of(arrays: CheckedArrays, train: np.ndarray, valid: np.ndarray) -> Data:
    return Data(
        on_device(arrays),
        jax.device_put(train.astype(np.int32)),
        jax.device_put(valid.astype(np.int32)),
        remainders=arrays.remainders(train),
        columns=arrays.columns,
    )
