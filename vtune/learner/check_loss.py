"""Checks what a user's loss returns: a number, with a gradient that reaches the model's outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vtune.callers import users_line
from vtune.types import Array, PyTree
from vtune.xla.sources import sources


def check_loss(who: str, result: Any) -> None:
    """Raises TypeError for a loss that is no number, or one without a gradient.

    Args:
      result: what the function `who` returned: values, or (values, weights).
    """
    returns = "one value" if who == "batch_loss" else "values [batch, ...], or (values, weights)"
    pair = isinstance(result, tuple) and len(result) == 2 and who != "batch_loss"
    value, weights = result if pair else (result, None)
    if value is None:
        raise TypeError(f"{who} returned None; end it with `return` and the loss")
    if isinstance(value, tuple | Mapping | str):
        of = "" if isinstance(value, str) else f" of {len(value)}"
        raise TypeError(f"{who} returned a {type(value).__name__}{of}; return {returns}")
    if weights is not None and not _is_real(weights):
        raise TypeError(
            f"{who} returned weights of type {getattr(weights, 'dtype', type(weights).__name__)}; "
            "return real numbers, 0 or more"
        )
    if isinstance(value, float) or not (hasattr(value, "dtype") or isinstance(value, int)):
        return
    dtype = jnp.asarray(value).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{who} returned values of type {dtype}, which have no gradient, so nothing would be "
            "trained; return real numbers, such as optax.softmax_cross_entropy_with_integer_labels"
        )


def _is_real(value: Any) -> bool:
    if not hasattr(value, "dtype"):
        return isinstance(value, int | float | Sequence) and not isinstance(value, str)
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    return any(jnp.issubdtype(value.dtype, kind) for kind in kinds)


def warn_flat(who: str, loss: Callable[[PyTree], Any], outputs: PyTree) -> None:
    """Warns of a loss whose gradient by the model's outputs is 0 whatever these are.

    Args:
      who: the user's function. loss: outputs -> what is minimised.
    """
    leaves, structure = jax.tree.flatten(outputs)
    real = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def values(reals: list[Array]) -> Any:
        filled = dict(zip(real, reals, strict=True))
        return loss(jax.tree.unflatten(structure, [filled.get(i, v) for i, v in enumerate(leaves)]))

    try:
        traced = jax.make_jaxpr(lambda at, by: jax.jvp(values, (at,), (by,))[1])
        found = sources(traced([leaves[i] for i in real], [leaves[i] for i in real]))
    except Exception:  # without a forward derivative (custom_vjp) there is nothing to see
        return
    if not any(i >= len(real) for source in found for i in source.inputs):
        warnings.warn(
            f"{who} has no gradient by the model's outputs, so nothing is trained: it does not "
            "read them, or only through argmax, comparisons, rounding or stop_gradient",
            stacklevel=users_line(),
        )
