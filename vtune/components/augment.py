"""Augmentation of training batches inside the step; its strengths may be hyperparameters.

    def augment(key, batch, h):
        k_crop, k_noise = jax.random.split(key)
        x = vt.augment.random_crop(k_crop, batch["x"], h["shift"])
        return {**batch, "x": vt.augment.noise(k_noise, x, h["noise"])}

    vt.flax_learner(..., augment=augment)

Every row of a batch is changed independently. Images are [batch, height, width] or [batch, height,
width, channels]. They keep their dtype where pixels are only moved, and become floats elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vtune.hparams import Hparams
from vtune.types import Array, Batch, Key, Outputs, at_least_single, float_dtype


def random_crop(key: Key, x: Array, padding: Any) -> Array:
    """Pads images with zeros on every side and crops them at random to their size.

    They are shifted by up to `padding` pixels each way.

    Args:
      padding: number of pixels, may be traced; rounded down.
    """
    _check_images("random_crop", x)
    rows, height, width = x.shape[:3]
    most = jnp.floor(jnp.asarray(padding, float_dtype()))
    u = jax.random.uniform(key, (rows, 2), float_dtype())
    shift = jnp.floor(u * (2 * most + 1) - most).astype(jnp.int32)

    def one(image: Array, by: Array) -> Array:
        for axis, size in ((0, height), (1, width)):
            place = jnp.arange(size) + by[axis]
            inside = (place >= 0) & (place < size)
            moved = jnp.take(image, place, axis=axis, mode="clip")
            shape = [size if a == axis else 1 for a in range(image.ndim)]
            image = jnp.where(inside.reshape(shape), moved, jnp.zeros((), image.dtype))
        return image

    return jax.vmap(one)(x, shift)


def random_flip(key: Key, x: Array, probability: Any = 0.5, *, axis: int = 2) -> Array:
    """Mirrors each row along `axis` (2 swaps left and right) with the given probability."""
    chosen = jax.random.bernoulli(key, jnp.asarray(probability, float_dtype()), x.shape[:1])
    return jnp.where(_along(chosen, x), jnp.flip(x, axis), x)


def cutout(key: Key, x: Array, size: Any) -> Array:
    """Sets a square around a random pixel of each image to 0 (DeVries and Taylor 2017).

    Args:
      size: side of the square in pixels, may be traced. Parts outside the image are cut off.
    """
    _check_images("cutout", x)
    rows, height, width = x.shape[:3]
    centre = jax.random.uniform(key, (2, rows, 1), float_dtype())
    half = jnp.asarray(size, float_dtype()) / 2

    def within(u: Array, length: int) -> Array:
        middle = jnp.floor(u * length) + 0.5
        place = jnp.broadcast_to(jnp.arange(length, dtype=float_dtype()) + 0.5, (rows, length))
        return jnp.abs(place - middle) < half

    hole = within(centre[0], height)[:, :, None] & within(centre[1], width)[:, None, :]
    return jnp.where(hole.reshape(hole.shape + (1,) * (x.ndim - 3)), jnp.zeros((), x.dtype), x)


def noise(key: Key, x: Array, scale: Any) -> Array:
    """Adds Gaussian noise of standard deviation `scale`, in the unit of `x`."""
    x = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    return x + jnp.asarray(scale, x.dtype) * jax.random.normal(key, x.shape, x.dtype)


def mixup(key: Key, batch: Batch, alpha: Any, *, inputs: str = "x", labels: str = "y") -> Batch:
    """Mixes each row with another, by a share drawn from Beta(alpha, alpha) (Zhang et al. 2018).

    Args:
      alpha: 0 or more, may be traced; 0 mixes nothing.
      inputs, labels: names of the entries to mix.

    Returns:
      The batch with mixed inputs and two more entries: `mix` [batch], the weight of the row's
      label, and `mix/<labels>`, the label of the row mixed in. `mixed(loss)` reads them.
    """
    k_share, k_order = jax.random.split(key)
    x = jnp.asarray(batch[inputs], jnp.promote_types(batch[inputs].dtype, jnp.float32))
    alpha = jnp.asarray(alpha, x.dtype)
    some = jnp.where(alpha > 0, alpha, 1.0)
    share = jax.random.beta(k_share, some, some, x.shape[:1], x.dtype)
    share = jnp.where(alpha > 0, share, 1.0)
    order = jax.random.permutation(k_order, x.shape[0])
    weight = _along(share, x)
    return {
        **batch,
        inputs: weight * x + (1 - weight) * x[order],
        "mix": share,
        f"mix/{labels}": batch[labels][order],
    }


def mixed(loss: Callable[..., Any], *, labels: str = "y") -> Callable[..., Any]:
    """Returns a loss that weighs both labels of rows mixed by `mixup`.

    Rows that are not mixed, such as validation rows, keep their loss.

    Args:
      loss: (outputs, batch, h) -> values [batch].
    """

    def weighed(outputs: Outputs, batch: Batch, h: Hparams) -> Any:
        values = loss(outputs, batch, h)
        if "mix" not in batch:  # validation rows
            return values
        if isinstance(values, tuple):
            raise TypeError(
                "augment.mixed: the loss returns (values, weights); multiply the weights into the "
                "values, since the two labels of a row weigh differently"
            )
        other = loss(outputs, {**batch, labels: batch[f"mix/{labels}"]}, h)
        values, other = at_least_single(values), at_least_single(other)
        share = batch["mix"].astype(values.dtype)
        return share * values + (1 - share) * other

    return weighed


def _along(rows: Array, like: Array) -> Array:
    return rows.reshape(rows.shape + (1,) * (like.ndim - 1))


def _check_images(who: str, x: Array) -> None:
    if x.ndim not in (3, 4):
        raise ValueError(
            f"augment.{who}: x has shape {list(x.shape)}; images are [batch, height, width] or "
            "[batch, height, width, channels]"
        )
