"""Checks of the arrays that a user passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.blocks import rows_of_block
from vtune.data.column_names import column_names
from vtune.data.convert import to_array
from vtune.data.own import CheckedArrays, aligned_empty, is_borrowed
from vtune.validation import check_untraced

if TYPE_CHECKING:
    from vtune.data.dataset import Data


def check_finite(
    who: str, arrays: Mapping[str, np.ndarray], instead: str = "fill or drop those rows before"
) -> None:
    """Raises ValueError if an array holds NaN or an infinity; `instead` is what to do."""
    for name, array in arrays.items():
        if jnp.issubdtype(array.dtype, jnp.inexact):
            bad = len(_not_finite(array))
            if bad:
                raise ValueError(f"{who}: {name!r} holds {bad} NaN or infinite values; {instead}")


def _not_finite(array: np.ndarray) -> np.ndarray:
    """Returns the places in `array.ravel()` of NaN and infinities, a block of rows at a time."""
    rows = array if array.ndim else array[None]
    size, one = rows_of_block(rows.shape), math.prod(rows.shape[1:])
    found = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        # NumPy does not know bfloat16: cast to float32.
        plain = block if block.dtype.kind in "fc" else block.astype(np.float32)
        found.append(start * one + np.flatnonzero(~np.isfinite(plain)))
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def check_split(data: Data) -> None:
    """Raises TypeError or ValueError where rows cannot be trained on and scored, as those of data
    that were made by hand may be."""
    lengths = {name: len(array) if np.ndim(array) else 0 for name, array in data.arrays.items()}
    count = min(lengths.values(), default=0)
    if not count or count != max(lengths.values()):
        raise ValueError(f"data: the arrays must have equally many rows, 1 or more; got {lengths}")
    seen = np.zeros(count, bool)
    for part in ("train", "valid"):
        if not hasattr(given := getattr(data, part), "dtype"):
            raise TypeError(
                f"data.{part} must be an array of row numbers; got a {type(given).__name__}"
            )
        rows = np.asarray(given)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
            raise ValueError(
                f"data.{part} is {rows.dtype}{list(rows.shape)}; give row numbers [rows], 1 or more"
            )
        if rows.min() < 0 or rows.max() >= count:
            raise ValueError(
                f"data.{part} goes from {rows.min()} to {rows.max()}; there are rows 0 to "
                f"{count - 1}"
            )
        if seen[rows].any():
            raise ValueError(f"data: row {rows[seen[rows]][0]} both trains and validates")
        seen[rows] = True


def check_arrays(who: str, arrays: Any) -> CheckedArrays:
    """Returns the arrays in the dtypes in which JAX holds them.

    Raises:
      TypeError, ValueError: they are empty, of different lengths, not numeric or not finite.
    """
    check_mapping(who, arrays)
    checked = CheckedArrays()
    for name, value in arrays.items():
        array = to_array(who, name, value)
        check_entry(who, name, array)
        check_finite(who, {name: array})
        checked[name] = cast = _canonical(who, name, array)
        if cast is array and is_borrowed(array, value):
            checked.borrowed.add(name)
        if cast is not array:
            checked.uncast[name] = array
    checked.columns = column_names(arrays)
    check_shapes(who, {name: array.shape for name, array in checked.items()}, arrays)
    return checked


def check_mapping(who: str, arrays: Any) -> None:
    """Raises TypeError or ValueError unless these are entries by name."""
    check_untraced(who)
    if hasattr(arrays, "columns") and hasattr(arrays, "dtypes"):
        raise TypeError(
            f"{who}: a {type(arrays).__name__} does not say what is what; give entries by name: "
            '{"x": frame[["a", "b"]], "y": frame["target"]}, or, with categories or missing '
            "values, columns = vt.Columns(numeric=[...], categorical=[...]).fit(frame) and "
            '{**columns.transform(frame), "y": frame["target"]}'
        )
    plain = isinstance(arrays, Sequence) or hasattr(arrays, "shape")
    kind = type(arrays).__name__
    if not isinstance(arrays, Mapping) and not plain and hasattr(arrays, "__iter__"):
        raise TypeError(
            f"{who}: {kind} is no dict of arrays and does not give rows by their numbers; where it "
            "is iterated for batches to train on, write vt.stream(...), and rows to score are a "
            "dict of arrays, or the source behind a loader (loader.dataset)"
        )
    if not isinstance(arrays, Mapping):
        rows = not plain and hasattr(type(arrays), "__getitem__")
        hint = "; a source that gives rows by their numbers has __len__, too" if rows else ""
        raise TypeError(f'{who}: {kind} is not a dict such as {{"x": X, "y": y}}{hint}')
    if not arrays:
        raise ValueError(f'{who}: the dict is empty; give arrays such as {{"x": X, "y": y}}')


def check_entry(who: str, name: Any, array: Any) -> None:
    """Raises TypeError or ValueError unless an entry has a name and rows."""
    if not isinstance(name, str):
        raise TypeError(f"{who}: the name {name!r} of an entry is not a string")
    if array.shape == ():
        raise ValueError(f"{who}: {name!r} is a single number; its first axis must be rows")


def check_shapes(who: str, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> None:
    """Raises ValueError unless the entries have equally many rows that hold something."""
    lengths = {name: shape[0] for name, shape in shapes.items()}
    if len(set(lengths.values())) > 1:
        several = [n for n, v in given.items() if isinstance(v, tuple) and v and np.ndim(v[0])]
        hint = "".join(
            f"; {name!r} is a tuple of {len(given[name])} arrays: give each a name of its own"
            for name in several
        )
        raise ValueError(f"{who}: the arrays have different lengths, {lengths}{hint}")
    if 0 in lengths.values():
        raise ValueError(f"{who}: the arrays are empty ({lengths} rows)")
    for name, shape in shapes.items():
        if 0 in shape:
            raise ValueError(
                f"{who}: {name!r} has shape {list(shape)}, so its rows hold nothing; leave it out"
            )


def _canonical(who: str, name: str, array: np.ndarray) -> np.ndarray:
    """Casts an array to the dtype in which JAX holds it."""
    kept = jax.dtypes.canonicalize_dtype(array.dtype)
    if kept == array.dtype:
        return array
    if array.size and array.dtype.kind in "iu":
        range_of = np.iinfo(kept)
        if array.min() < range_of.min or array.max() > range_of.max:
            raise ValueError(
                f"{who}: {name!r} holds numbers beyond {kept}; scale them or set jax_enable_x64"
            )
    cast = aligned_empty(array.shape, kept)  # so that JAX does not copy it again
    with np.errstate(over="ignore"):
        cast[...] = array
    if array.size and array.dtype.kind in "fc":
        beyond = _not_finite(cast)
        if len(beyond):
            raise ValueError(
                f"{who}: {name!r} holds {len(beyond)} numbers beyond {kept}, whose largest is "
                f"{np.finfo(kept).max:.2g}, such as {array.ravel()[beyond[0]]:g}; scale them or "
                "set jax_enable_x64"
            )
        gone = array.any(axis=0) & ~cast.any(axis=0)
        if gone.any():
            small = np.abs(array[:, gone]) if array.ndim > 1 else np.abs(array)
            raise ValueError(
                f"{who}: {name!r} holds numbers that are all 0 in {kept}, up to {small.max():.2g}; "
                "scale them or set jax_enable_x64"
            )
    return cast
