"""Finds convolutions that take the rows of a batch for an axis of one image.

Flax's convolutions take an input without an axis of rows for a single image. Of images
[rows, height, width], without channels, the batch is then one image of so many pixels, and every
row changes with its neighbours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vtune.returned import ReturnedError
from vtune.types import Batch

_CONVOLUTIONS = (nn.Conv, nn.ConvLocal, nn.ConvTranspose)


def check_images(make: Callable[[Batch], Any], batch: Batch) -> Any:
    """Returns `make(batch)`, which calls linen modules.

    Raises:
      ReturnedError: a convolution takes the rows for an axis of one image: with one row more in the
        batch its input is one longer there.
    """
    with _single_images() as seen:
        made = make(batch)
    rows = _rows(batch)
    suspects = [found for found in seen if found[1][0] == rows]
    if not suspects:
        return made
    longer = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), batch)
    with _single_images() as again:
        jax.eval_shape(make, longer)
    for (name, shape, kernel), (_, other, _) in zip(seen, again, strict=False):
        if shape[0] == rows and other[0] == rows + 1 and shape[1:] == other[1:]:
            raise ReturnedError(
                f"the convolution {name} takes the {rows} rows of the batch for an axis of one "
                f"image: its input {list(shape)} has no axis of channels for the kernel "
                f"{list(kernel)}; give the data one, x[..., None], or add it in the model"
            )
    return made


@contextlib.contextmanager
def _single_images() -> Iterator[list[tuple[str, tuple[int, ...], tuple[int, ...]]]]:
    """Collects the convolutions that are called without an axis of rows: path, input, kernel."""
    seen = []

    def look(following: Any, args: Any, keywords: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, _CONVOLUTIONS) and context.method_name == "__call__" and args:
            size = module.kernel_size
            kernel = (size,) if isinstance(size, int) else tuple(size)
            if jnp.ndim(args[0]) == len(kernel) + 1:
                path = "/".join(map(str, module.path)) or type(module).__name__
                seen.append((path, jnp.shape(args[0]), kernel))
        return following(*args, **keywords)

    with nn.intercept_methods(look):
        yield seen


def _rows(batch: Batch) -> int:
    return int(jax.tree.leaves(batch)[0].shape[0])
