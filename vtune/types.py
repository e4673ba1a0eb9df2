"""Names for the types that functions take and return, and the program's float type.

Axis names in shapes: `pop` (slots of a population), `rounds`, `steps`, `batch` (rows of a
batch), `rows` (rows of a data set), `fold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

try:
    from jaxtyping import Bool as BoolArray
    from jaxtyping import Float as FloatArray
    from jaxtyping import Int as IntArray
    from jaxtyping import Shaped as ShapedArray
except ImportError:  # jaxtyping is needed by the tests only, which check shapes at run time

    class _Unchecked:
        """Stands for jaxtyping's types: `FloatArray[Array, "pop"]` is then simply `Array`."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    BoolArray = FloatArray = IntArray = ShapedArray = _Unchecked  # type: ignore[assignment, misc]

PyTree = Any
Key = Array  # a typed key, as `jax.random.key` makes it
Batch = Any  # dict of arrays [batch, ...], or None where a learner makes its own data
State = PyTree  # all that one member carries from step to step
Outputs = PyTree  # leaves [batch, ...]
Weight = Array  # [batch], 0 on padding
Totals = PyTree  # summed over the evaluation batches; leaves inside `PerRow` are concatenated
Metrics = Mapping[str, Any]

__all__ = [
    "Array",
    "Batch",
    "BoolArray",
    "FloatArray",
    "IntArray",
    "Key",
    "Metrics",
    "Outputs",
    "PyTree",
    "ShapedArray",
    "State",
    "Totals",
    "Weight",
    "at_least_single",
    "float_dtype",
    "is_traced",
]


def float_dtype() -> np.dtype:
    """Returns the program's float type: float32, or float64 where `jax_enable_x64` is set."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


def at_least_single(array: Array) -> Array:
    """Returns numbers of half precision in float32, others as they are.

    Between 2 and 2.0156 bfloat16 has nothing, so differences and logarithms are not taken in it.
    """
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def is_traced(tree: PyTree) -> bool:
    """Returns whether every leaf is a tracer: none is a Python number or a concrete array."""
    return all(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
