"""What to write instead, where a user's function fails on what it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError

from vtune.returned import described


def advice(error: Exception, given: Mapping[str, Any]) -> Iterator[str]:
    """Yields what to write instead.

    Args:
      given: what the function was called with, by name.
    """
    if isinstance(
        error, jax.errors.ConcretizationTypeError | jax.errors.TracerArrayConversionError
    ):
        yield (
            "its arrays are traced, they have no values yet: write jnp for np, jnp.where for `if`, "
            "leave out float(), int() and .item(), and write jnp.asarray(table)[...] where a NumPy "
            "array is indexed"
        )
        return
    if isinstance(error, InvalidRngError) and "mutable" in given:
        yield "hand on what apply is given: model.apply(..., rngs=rngs, mutable=mutable)"
    if not isinstance(error, TypeError | ValueError | AttributeError):
        return
    outputs, batch = given.get("outputs"), given.get("batch")
    if outputs is not None and not hasattr(outputs, "dtype"):
        one = next(iter(outputs), 0) if isinstance(outputs, Mapping) else 0
        yield f"the model returns {described(outputs)}; take an array of it: outputs[{one!r}]"
    elif isinstance(batch, Mapping) and hasattr(batch.get("y"), "dtype"):
        yield from _of_labels(str(error), outputs, batch["y"])


def _of_labels(said: str, outputs: Any, labels: Any) -> Iterator[str]:
    """Yields how labels are given to a loss, or a metric, that does not take them as they are."""
    shown = f'labels "y" are {described(labels)}'
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    classes = shape[-1] if len(shape) > 1 else 1
    looked_up = "integer" in said or "indices" in said  # the loss takes whole numbers, one a place
    if looked_up and len(shape) == 1:
        yield (
            f"the model returns one number a row, {described(outputs)}; for classes it returns "
            "[rows, classes], and for yes or no write optax.sigmoid_binary_cross_entropy"
        )
        return
    if looked_up and classes > 1 and labels.shape == shape:
        yield f"{shown}, a number for every class; give the classes: y.argmax(axis=-1)"
        return
    if looked_up and classes > 1 and labels.shape == (*shape[:-1], 1):
        yield f"{shown}; give one for a row, without the last axis: y[..., 0]"
    elif classes > 1 and labels.shape == shape[:-1] and "shape" in said:
        yield (
            f"{shown} and outputs {described(outputs)}; for classes write "
            'optax.softmax_cross_entropy_with_integer_labels(outputs, batch["y"]), or compare '
            f'with jax.nn.one_hot(batch["y"], {classes})'
        )
    if looked_up and not jnp.issubdtype(labels.dtype, jnp.integer):
        cast = "" if jnp.issubdtype(labels.dtype, jnp.complexfloating) else ': y.astype("int32")'
        yield f'labels "y" are {labels.dtype}; give whole numbers{cast}'
