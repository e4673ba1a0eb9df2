"""Division of an array by a scalar, as a multiplication by its reciprocal.

A division takes a core as long as a square root. Adam needs three such operations for every weight,
and one of them is the division by its bias correction. XLA does not replace this one by itself.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.types import Array
from vtune.xla.ops.windows import Params


def divide(x: Array, y: Array, params: Params) -> Array | None:
    """Computes `lax.div` of an array by a scalar, rounded twice; None for anything else."""
    if np.ndim(x) == 0 or np.ndim(y) or not jnp.issubdtype(x.dtype, jnp.floating):
        return None
    if x.dtype.itemsize < 4:  # in half precision a second rounding would show
        return None
    # Numbers near the ends of the float range have no reciprocal in it: scale those first.
    far = 2.0 ** (np.finfo(x.dtype).maxexp - 28)
    size = jnp.abs(y)
    scale = jnp.where(size > far, 1 / far, jnp.where(size < 1 / far, far, 1.0)).astype(x.dtype)
    return lax.mul(lax.mul(x, 1 / (y * scale)), scale)
