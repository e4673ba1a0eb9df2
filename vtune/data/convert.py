"""Turns what a user calls an array into a NumPy array of numbers, or says why that cannot be.

Lists, NumPy, JAX, pandas, polars, pyarrow and PyTorch come in. None of them is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import jax.numpy as jnp
import numpy as np

from vtune.validation import check_untraced

_ENCODE = (
    "labels: names, y = numpy.unique(labels, return_inverse=True); columns of a table: vt.Columns; "
    "text: vt.text"
)


def to_array(who: str, name: Any, value: Any) -> np.ndarray:
    """Returns an entry as an array of numbers in this machine's byte order.

    It may share its memory with `value`.

    Args:
      who: the caller as the message names it. name: of the entry.

    Raises:
      TypeError, ValueError: it does not hold numbers; rows differ in shape; values are missing.
    """
    what = f"{who}: {name!r}"
    if isinstance(value, Mapping):
        raise TypeError(
            f"{what} is a {type(value).__name__}, and entries are arrays; give each of its own "
            f"entries, {_some(value)}, a name beside the others"
        )
    array = _as_numpy(who, name, value)
    if array.dtype.hasobject and array.ndim and not array.dtype.names:
        array = _from_objects(array)
        if array.dtype.hasobject and (count := sum(v is None for v in array.flat)):
            raise _missing(what, count)
    if not is_numeric(array.dtype):
        if array.dtype.hasobject and array.size:
            _check_objects(what, array)
        kind = f"type {array.dtype}" if array.ndim else f"the type {type(value).__name__}"
        raise TypeError(
            f"{who}: entry {name!r} is of {kind}; entries are numeric arrays under names that are "
            f"strings ({_ENCODE})"
        )
    return native(array)


def detached(value: Any) -> Any:
    """Returns a tensor of PyTorch's as NumPy can read it; anything else as it is."""
    return value.detach().cpu() if hasattr(value, "detach") and hasattr(value, "cpu") else value


def native(array: np.ndarray) -> np.ndarray:
    """Returns numbers in this machine's byte order, of at most 64 bits a part, as JAX has them."""
    return array.astype(native_dtype(array.dtype), copy=False)


def native_dtype(dtype: np.dtype) -> np.dtype:
    """Returns the dtype of `native`."""
    if dtype in (np.longdouble, np.clongdouble):
        return np.dtype(np.float64 if dtype == np.longdouble else np.complex128)
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def to_rows(who: str, name: str, value: Any, trained: str | None) -> np.ndarray:
    """Returns new rows of an entry, in the type of those that a model was trained on.

    Args:
      trained: the type in training; None where the entry was not there. Real numbers stay as
        precise as they come, since they may be scaled before they are cast.

    Raises:
      TypeError, ValueError: as `to_array`, or the numbers do not fit the type.
    """
    array = to_array(who, name, value)
    if trained and array.dtype.kind == "c" and jnp.dtype(trained).kind != "c":
        raise TypeError(f"{who}: {name!r} holds complex numbers; in training it was {trained}")
    if trained is None or not _is_discrete(dtype := jnp.dtype(trained)):
        return array.astype(np.float64) if trained and _is_discrete(array.dtype) else array
    if array.dtype == dtype or not array.size:
        return array.astype(dtype)
    if not _is_discrete(array.dtype):
        parts = np.flatnonzero(array != np.round(array))
        if len(parts):
            raise TypeError(
                f"{who}: {name!r} holds numbers that are not whole, such as "
                f"{array.ravel()[parts[0]]:g}; in training it was {dtype}"
            )
    low, high = (0, 1) if dtype == np.bool_ else (jnp.iinfo(dtype).min, jnp.iinfo(dtype).max)
    if array.min() < low or array.max() > high:
        raise ValueError(
            f"{who}: {name!r} goes from {array.min():g} to {array.max():g}, beyond {dtype}, which "
            "it was in training"
        )
    return array.astype(dtype)


def _as_numpy(who: str, name: Any, value: Any) -> np.ndarray:
    what = f"{who}: {name!r}"
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.getmaskarray(value).any():
            raise TypeError(
                f"{what} is a masked array, whose mask would be lost; fill it, as in x.filled(0), "
                "and give the mask as an entry of its own"
            )
        return np.asarray(value.data)
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{what} is sparse ({type(value).__name__}); write x.toarray()")
    if type(value).__name__ == "LazyFrame":
        raise TypeError(f"{what} is a LazyFrame, which holds no rows yet; write x.collect()")
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _from_frame(what, value)
    if hasattr(value, "dtype") and hasattr(value, "isna") and hasattr(value, "to_numpy"):
        return _from_column(what, value)
    try:
        return np.asarray(detached(value))
    except Exception as error:
        check_untraced(who, **{str(name): value})
        if isinstance(value, list | tuple):
            _check_even(what, value)
        # PyTorch's words for bfloat16 and float8
        hint = "; write x.float()" if "ScalarType" in str(error) else ""
        raise TypeError(
            f"{what}: {type(value).__name__} cannot be turned into an array ({error}){hint}"
        ) from None


def _from_frame(what: str, frame: Any) -> np.ndarray:
    """Converts a frame; one with types that NumPy does not know, column by column."""
    array = np.asarray(frame)
    if is_numeric(array.dtype) or not len(frame.columns):
        return array
    series = [
        frame.iloc[:, i] if hasattr(frame, "iloc") else frame[:, i]
        for i in range(len(frame.columns))
    ]
    named = zip(frame.columns, series, strict=True)
    return np.column_stack([_from_column(f"{what}: column {c!r}", s) for c, s in named])


def _from_column(what: str, column: Any) -> np.ndarray:
    """Converts one column of a frame, or a series."""
    array = np.asarray(column)
    if is_numeric(array.dtype):
        return array
    missing = column.isna() if hasattr(column, "isna") else column.is_null()
    # pandas' types of its own, pyarrow's, and sparse ones.
    dtype = getattr(column.dtype, "numpy_dtype", None)
    if dtype is None and hasattr(column.dtype, "fill_value"):
        dtype = column.dtype.subtype
    if dtype is None or not is_numeric(np.dtype(dtype)):
        held = array[~np.asarray(missing)] if array.dtype.hasobject else array
        if held.dtype.hasobject and is_numeric(_from_objects(held).dtype):
            if len(held) == len(array):
                return array
            raise _missing(what, len(array) - len(held))
        if held.dtype.hasobject:
            _check_even(what, held.tolist())
        raise TypeError(
            f"{what} is of type {column.dtype}; entries are numbers ({_ENCODE}; dates as numbers "
            "such as days)"
        )
    if int(missing.sum()):
        raise _missing(what, int(missing.sum()))
    return np.asarray(column.to_numpy(dtype=np.dtype(dtype)))


def _check_even(what: str, rows: Sequence[Any]) -> None:
    """Raises ValueError where rows differ in shape."""
    shapes = [_shape(row) for row in rows]
    unlike = next((s for s in shapes if s != shapes[0]), None)
    if unlike is not None:
        raise ValueError(
            f"{what} holds rows of different shapes, such as {shapes[0]} and {unlike}; pad them to "
            "one, with a mask as an entry of its own (several inputs are several entries)"
        ) from None


def _check_objects(what: str, array: np.ndarray) -> None:
    """Raises where Python objects are records, or numbers that NumPy has no type for."""
    if all(isinstance(value, Mapping) for value in array.flat):
        raise TypeError(
            f"{what} holds records; a source of records stands in the place of the dict, and those "
            'of several parts are vt.from_splits(parts["train"], parts["valid"])'
        )
    if not all(isinstance(value, Number) for value in array.flat):
        return
    kinds = sorted({type(value).__name__ for value in array.flat})
    if kinds == ["int"]:
        raise ValueError(f"{what} holds whole numbers beyond 64 bits; scale them")
    raise TypeError(f"{what} holds numbers of type {', '.join(kinds)}; write np.array(x, float)")


def _missing(what: str, count: int) -> ValueError:
    return ValueError(
        f"{what} has {count} missing values; fill or drop them first, as with vt.Columns"
    )


def _from_objects(array: np.ndarray) -> np.ndarray:
    """Turns an array of Python objects into one of numbers, if they are numbers or arrays."""
    try:
        return np.asarray(array.tolist())
    except ValueError:
        return array


def _some(entries: Mapping[Any, Any]) -> str:
    names = [repr(name) for name in entries]
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _shape(row: Any) -> list[int]:
    try:
        return list(np.shape(row))
    except ValueError:
        return [len(row)]


def is_numeric(dtype: np.dtype) -> bool:
    """Whether a dtype is one of numbers, or of booleans."""
    number = jnp.issubdtype(dtype, jnp.number) and dtype.kind != "m"  # spans of time
    return bool(number) or dtype == np.bool_


def _is_discrete(dtype: np.dtype) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.integer)) or dtype == np.bool_
