"""Division of an array by one number, as a multiplication by its reciprocal.

A core takes as long over a division as over a square root, and of these three Adam needs for every
weight one is the division by its bias correction. XLA does this to some divisions, not to these.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.types import Array
from vtune.xla.ops.windows import Params


def divide(x: Array, y: Array, params: Params) -> Array | None:
    """`lax.div` of an array [...] by one number [], rounded twice; None for anything else."""
    if np.ndim(x) == 0 or np.ndim(y) or not jnp.issubdtype(x.dtype, jnp.floating):
        return None
    if x.dtype.itemsize < 4:  # half precision, where a second rounding would be seen
        return None
    # Near the ends of the floats' range numbers have no reciprocal in it: in two steps there.
    far = 2.0 ** (np.finfo(x.dtype).maxexp - 28)
    size = jnp.abs(y)
    scale = jnp.where(size > far, 1 / far, jnp.where(size < 1 / far, far, 1.0)).astype(x.dtype)
    return lax.mul(lax.mul(x, 1 / (y * scale)), scale)
