"""What every batch of a stream must be: as the first one was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.data.convert import to_array

_DICT = 'a dict of arrays such as {"x": images, "y": labels}'


class BatchForm(NamedTuple):
    """The form of a stream's batches.

    Attributes:
      rows: of a batch. given: by name the shape of a row and the dtype, as the pipeline has them.
    """

    rows: int
    given: Mapping[str, tuple[tuple[int, ...], np.dtype]]

    def entries(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns one row by name, as the program gets it."""
        return {
            name: jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(dtype))
            for name, (shape, dtype) in self.given.items()
        }

    def empty(self, batches: int) -> dict[str, np.ndarray]:
        """Returns arrays for so many batches, one behind the other."""
        return {
            name: np.empty((batches * self.rows, *row.shape), row.dtype)
            for name, row in self.entries().items()
        }


def form_of(where: str, batch: Any) -> BatchForm:
    """Returns the form of the first batch.

    Args:
      where: it stands, for messages.

    Raises:
      TypeError, ValueError: it is no dict of arrays with equally many rows.
    """
    arrays = _arrays(where, batch)
    if not arrays:
        raise ValueError(f"{where}: the batch is empty; let it be {_DICT}")
    flat = next((name for name, array in arrays.items() if not array.ndim), None)
    if flat is not None:
        raise ValueError(
            f"{where}: {flat!r} is a single number; its first axis must be rows, so let "
            "the pipeline put rows together, as in .batch(32)"
        )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(
            f"{where}: the entries must have equally many rows, 1 or more; got {lengths}"
        )
    given = {name: (array.shape[1:], array.dtype) for name, array in arrays.items()}
    return BatchForm(next(iter(lengths.values())), given)


def copy_batch(where: str, batch: Any, form: BatchForm, into: Mapping[str, np.ndarray]) -> None:
    """Copies a batch into arrays of the program's dtypes.

    Raises:
      TypeError, ValueError: it has another form, or numbers that are NaN, infinite or too large.
    """
    arrays = _arrays(where, batch)
    if arrays.keys() != form.given.keys():
        raise ValueError(
            f"{where}: the batch has the entries {sorted(arrays)}, the first had "
            f"{sorted(form.given)}; give every batch the same"
        )
    for name, (shape, dtype) in form.given.items():
        array = arrays[name]
        if array.shape != (form.rows, *shape) or array.dtype != dtype:
            raise ValueError(
                f"{where}: {name!r} is {array.dtype}{list(array.shape)}, in the first batch it "
                f"was {dtype}{[form.rows, *shape]}{_shorter(array, form.rows, shape)}"
            )
        _check_range(where, name, array, into[name].dtype)
        with np.errstate(over="ignore"):
            into[name][...] = array
        _check_finite(where, name, array, into[name])


def _arrays(where: str, batch: Any) -> dict[str, np.ndarray]:
    if not isinstance(batch, Mapping):
        kind = type(batch).__name__
        parts = f" of {len(batch)}, which does not say what is what" if _is_list(batch) else ""
        raise TypeError(f"{where}: the batch is a {kind}{parts}; let it be {_DICT}")
    unnamed = next((name for name in batch if not isinstance(name, str)), None)
    if unnamed is not None:
        raise TypeError(
            f"{where}: the name {unnamed!r} of an entry is not a string; write {str(unnamed)!r}"
        )
    return {name: to_array(where, name, value) for name, value in batch.items()}


def _is_list(batch: Any) -> bool:
    return isinstance(batch, list | tuple)


def _shorter(array: np.ndarray, rows: int, shape: tuple[int, ...]) -> str:
    if array.shape[1:] != shape or len(array) >= rows:
        return "; let the pipeline make all batches alike"
    return "; let the pipeline drop the rows that do not fill a batch (drop_remainder, drop_last)"


def _check_range(where: str, name: str, array: np.ndarray, kept: np.dtype) -> None:
    if array.dtype.kind not in "iu" or kept == array.dtype or not array.size:
        return
    range_of = np.iinfo(kept)
    if array.min() < range_of.min or array.max() > range_of.max:
        raise ValueError(
            f"{where}: {name!r} goes from {array.min()} to {array.max()}, beyond {kept}; scale it "
            "or set jax_enable_x64"
        )


def _check_finite(where: str, name: str, array: np.ndarray, cast: np.ndarray) -> None:
    if not jnp.issubdtype(cast.dtype, jnp.inexact):
        return
    plain = cast if cast.dtype.kind in "fc" else cast.astype(np.float32)  # NumPy has no bfloat16
    finite = np.isfinite(plain)
    if finite.all():
        return
    row = int(np.argwhere(~finite)[0][0])
    value = array[tuple(np.argwhere(~finite)[0])]
    if np.isfinite(value):
        raise ValueError(
            f"{where}: {name!r} holds {value:g} in row {row}, beyond {cast.dtype}; scale it or "
            "set jax_enable_x64"
        )
    raise ValueError(f"{where}: {name!r} holds {value} in row {row}; leave such rows out")
