"""Checks what a user's loss returns: a number, with a gradient that reaches the model's outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vtune.callers import users_line
from vtune.returned import ReturnedError, is_numeric, real
from vtune.types import Array, PyTree
from vtune.xla.sources import sources


def differentiable(who: str, value: Any, instead: str) -> Array:
    """Returns what a loss returned as an array of real numbers, which may have a gradient.

    Args:
      who: the user's function. instead: what it should return, for the message.

    Raises:
      ReturnedError: it is something else.
    """
    if isinstance(value, list) and value and all(map(is_numeric, value)):
        value = jnp.asarray(value)
    if not is_numeric(value):
        real(who, value, instead)
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ReturnedError(
            f"{who} returned values of type {array.dtype}, which have no gradient, so nothing "
            "would be trained; return real numbers, such as "
            "optax.softmax_cross_entropy_with_integer_labels"
        )
    return array


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
