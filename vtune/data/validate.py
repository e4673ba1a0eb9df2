"""Checks of the arrays that a user passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_finite(who: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError if an array holds NaN or an infinity."""
    for name, array in arrays.items():
        if jnp.issubdtype(array.dtype, jnp.floating):
            # NumPy does not know bfloat16: cast to float32.
            plain = array if array.dtype.kind == "f" else array.astype(np.float32)
            bad = int(array.size - np.isfinite(plain).sum())
            if bad:
                raise ValueError(
                    f"{who}: {name!r} holds {bad} NaN or infinite values; fill or drop those "
                    "rows before"
                )


def check_arrays(who: str, arrays: Any) -> dict[str, np.ndarray]:
    """Returns the arrays in the dtypes in which JAX holds them.

    Raises:
      TypeError, ValueError: they are empty, of different lengths, not numeric or not finite.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f'{who}: {type(arrays).__name__} is not a dict such as {{"x": X, "y": y}}')
    if not arrays:
        raise ValueError(f'{who}: the dict is empty; give arrays such as {{"x": X, "y": y}}')
    checked = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        numeric = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == np.bool_
        if not isinstance(name, str) or not numeric:
            raise TypeError(
                f"{who}: entry {name!r} is of type {array.dtype}; entries are numeric arrays "
                "under names that are strings (encode text or categories as numbers first)"
            )
        if array.ndim == 0:
            raise ValueError(f"{who}: {name!r} is a single number; its first axis must be rows")
        kept = jax.dtypes.canonicalize_dtype(array.dtype)
        if array.size and kept != array.dtype and array.dtype.kind in "iu":
            range_of = np.iinfo(kept)
            if array.min() < range_of.min or array.max() > range_of.max:
                raise ValueError(
                    f"{who}: {name!r} holds numbers beyond {kept}; scale them or set jax_enable_x64"
                )
        checked[name] = array.astype(kept, copy=False)
    lengths = {name: len(array) for name, array in checked.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{who}: the arrays have different lengths, {lengths}")
    if 0 in lengths.values():
        raise ValueError(f"{who}: the arrays are empty ({lengths} rows)")
    check_finite(who, checked)
    return checked
