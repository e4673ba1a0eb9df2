"""`vt.holdout` and `vt.from_splits`: data with one set of validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vtune.data.column_names import check_columns
from vtune.data.dataset import Data
from vtune.data.draw import check_strata, draw_rows, others, share_of_rows
from vtune.data.host_arrays import HostArrays, joined_arrays, row_dtype
from vtune.data.host_data import HostData
from vtune.data.host_entry import whole
from vtune.data.own import CheckedArrays, on_device
from vtune.data.where import check_data, side
from vtune.keywords import answering
from vtune.validation import check_count


@answering
def holdout(
    arrays: Any,
    fraction: float = 0.2,
    seed: int = 0,
    stratify: str | None = None,
    test: float | None = None,
    *,
    on: str | None = None,
) -> Data:
    """Holds a random part of the rows out for validation, and another for a test on request.

    The rows depend on their number, `fraction`, `seed` and the labels of `stratify` alone, so that
    what is made of training rows only, such as a vocabulary, can be made of
    `holdout({"y": labels}, ...).train` before the other arrays are.

    Data that are larger than memory stay where they are, and the rows of the coming steps are read
    while the current ones are trained on, once for all members:

        data = vt.holdout({"x": np.load("x.npy", mmap_mode="r"), "y": y}, on="host")

    Args:
      arrays: name -> array `[rows, ...]`, all of the same length: of NumPy, also mapped from a
        file, JAX, pandas, polars or PyTorch, or whatever has `shape`, `dtype` and `[rows]`, such as
        the datasets of h5py and zarr. Or, in the place of the dict, a source of records: a
        `datasets.Dataset` in the format "numpy", or a random-access source of grain or PyTorch
        whose rows are dicts of arrays and numbers.
      fraction: share of the rows to hold out, above 0 and below 1; at least one row is held out
        and one kept.
      seed: of the draw.
      stratify: name of an entry of labels `[rows]` whose proportions all parts keep.
      test: share of all rows that neither train nor validate, for `Sweep.evaluate`. The
        validation rows are the same with and without it.
      on: "device" copies all rows to the device. "host" leaves them where they are, uncopied: what
        is written into the arrays later reaches the sweep, and NaN is found when a row is read.
        None chooses "host" where the rows take more than half of the memory that is free on the
        device, and says so in the log. The results are the same to the bit.

    Raises:
      TypeError, ValueError: the arrays are empty, of different lengths, not numeric or not finite,
        or another argument is not allowed.

    Examples:
      >>> import numpy as np
      >>> holdout({"x": np.zeros((10, 3), np.float32), "y": np.zeros(10, np.int32)}, test=0.1)
      Data(x: float32[10, 3], y: int32[10]; train 7 rows, valid 2, test 1)
    """
    checked = check_data("holdout", arrays, on)
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
    rest = others(rows, valid)
    test_rows = None
    if test is not None:
        test_rows = np.sort(draw_rows(rng, rest, tested, labels))
        rest = others(rows, valid, test_rows)
    return _data_of(checked, rest, valid).with_test(test_rows)


def _stratifying(arrays: Mapping[str, Any], name: Any) -> np.ndarray | None:
    """Returns the entry whose proportions all parts keep."""
    if name is not None and not isinstance(name, str):
        raise TypeError(
            f"holdout: stratify={type(name).__name__} is not the name of an entry; write "
            'stratify="y"'
        )
    if name is not None and name not in arrays:
        raise ValueError(f"holdout: stratify={name!r} is not one of {list(arrays)}")
    return None if name is None else whole(arrays[name])


@answering
def from_splits(train: Any, valid: Any, test: Any = None, *, on: str | None = None) -> Data:
    """Joins a training set and a validation set that you already have.

    Args:
      train, valid: name -> array `[rows, ...]`, with the same names, dtypes and row shapes; or a
        source of records, as for `vt.holdout`.
      test: another one, whose rows neither train nor validate, for `Sweep.evaluate`.
      on: as for `vt.holdout`. On the host the sets stay apart.

    Raises:
      TypeError, ValueError: as `holdout`, and if the sets do not match.
    """
    parts = {"train": train, "valid": valid} | ({} if test is None else {"test": test})
    return data_of_parts("from_splits", parts, on)


def data_of_parts(who: str, parts: Mapping[str, Any], on: str | None) -> Data:
    """Returns the data of sets by their names: the first is trained on, "valid" is scored on,
    "test" neither.

    Raises:
      TypeError, ValueError: as `from_splits`.
    """
    held = side(who, parts.values(), on)
    sets = {part: check_data(f"{who}: {part}", given, held) for part, given in parts.items()}
    trained, first = next(iter(sets.items()))
    for part, arrays in sets.items():
        if arrays.keys() != first.keys():
            raise ValueError(
                f"{who}: {trained} has {sorted(first)}, {part} has {sorted(arrays)}; give both the "
                "same"
            )
        for name, a in first.items():
            b = arrays[name]
            if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
                raise ValueError(
                    f"{who}: {name!r} is {a.dtype}{list(a.shape[1:])} a row in {trained} and "
                    f"{b.dtype}{list(b.shape[1:])} in {part}; make them alike"
                )
    for part, arrays in sets.items():
        for name, names in arrays.columns.items():
            check_columns(f"{who}: {part}", name, first.columns.get(name, names), names)
    joined = _joined(sets)
    ends = np.cumsum([len(next(iter(s.values()))) for s in sets.values()])
    of = dict(zip(sets, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    return _data_of(joined, of[trained], of["valid"]).with_test(of.get("test"))


def _joined(sets: Mapping[str, Any]) -> Any:
    """Returns the sets one behind the other; those on the host are not copied."""
    first = next(iter(sets.values()))
    if isinstance(first, HostArrays):
        return joined_arrays(sets)
    joined = CheckedArrays({k: np.concatenate([s[k] for s in sets.values()]) for k in first})
    joined.columns = first.columns
    for name in set().union(*(s.uncast for s in sets.values())):
        given = [s.uncast.get(name, s[name]) for s in sets.values()]
        joined.uncast[name] = np.concatenate(given)
    return joined


def _data_of(arrays: Any, train: np.ndarray, valid: np.ndarray) -> Data:
    if isinstance(arrays, HostArrays):
        dtype = row_dtype(arrays)
        return HostData(arrays, train.astype(dtype), valid.astype(dtype), arrays.columns)
    return Data(
        on_device(arrays),
        jax.device_put(train.astype(np.int32)),
        jax.device_put(valid.astype(np.int32)),
        remainders=arrays.remainders(train),
        columns=arrays.columns,
    )
