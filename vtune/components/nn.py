"""Layers whose rates may be traced hyperparameters."""

from __future__ import annotations

from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
from flax import nnx

from vtune.types import Array, Key


def Dropout(rate: Any, *, rngs: nnx.Rngs | None = None, **options: Any) -> Any:
    """Returns a dropout layer whose rate may be a traced hyperparameter (Srivastava et al. 2014).

    Flax's layers test `rate == 0.0` in Python and cannot take a traced rate. For a rate that both
    can take, the bits are those of Flax.

    Args:
      rate: probability of dropping an entry, a number or a traced scalar, 0 to 1.
      rngs: makes the layer an nnx module; without it the layer is a linen module.
      options: `deterministic`, `broadcast_dims` and `rng_collection`, as in Flax.

    Raises:
      ValueError: a plain number outside 0 to 1. A traced one gives NaN, which ends the member.
    """
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ValueError(f"Dropout: rate={rate!r} is no probability; give a number from 0 to 1")
    return (
        NnxDropout(rate, rngs=rngs, **options)
        if rngs is not None
        else LinenDropout(rate, **options)
    )


def drop(key: Key, rate: Any, x: Array, broadcast_dims: tuple[int, ...] = ()) -> Array:
    """Sets entries of `x` to 0 with probability `rate`; scales the others by 1 / (1 - rate)."""
    rate = jnp.asarray(rate, x.dtype)
    possible = (rate >= 0) & (rate <= 1)
    keep = jnp.where(possible, 1.0 - rate, 1.0)
    shape = tuple(1 if d in broadcast_dims else n for d, n in enumerate(x.shape))
    mask = jnp.broadcast_to(jax.random.bernoulli(key, keep, shape), x.shape)
    # At rate 1 nothing is kept; dividing by 1 there keeps the gradient finite.
    scale = jnp.where(possible, jnp.where(keep > 0, keep, 1.0), jnp.nan)
    return jnp.where(mask, x / scale, jnp.zeros_like(x))


def _never(rate: Any) -> bool:
    """Whether a rate is the plain number 0, for which nothing is drawn."""
    return isinstance(rate, int | float) and rate == 0


class LinenDropout(flax.linen.Module):
    """The linen layer that `Dropout` makes."""

    rate: Any
    broadcast_dims: tuple[int, ...] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @flax.linen.compact
    def __call__(self, inputs: Array, deterministic: bool | None = None) -> Array:
        off = flax.linen.merge_param("deterministic", self.deterministic, deterministic)
        if off or _never(self.rate):
            return inputs
        return drop(self.make_rng(self.rng_collection), self.rate, inputs, self.broadcast_dims)


class NnxDropout(nnx.Module):
    """The nnx layer that `Dropout` makes."""

    def __init__(
        self,
        rate: Any,
        *,
        rngs: nnx.Rngs,
        broadcast_dims: tuple[int, ...] = (),
        deterministic: bool = False,
        rng_collection: str = "dropout",
    ):
        self.rate = rate
        self.broadcast_dims = broadcast_dims
        self.deterministic = deterministic
        self.rngs = rngs[rng_collection].fork()

    def __call__(self, inputs: Array, *, deterministic: bool | None = None) -> Array:
        off = self.deterministic if deterministic is None else deterministic
        return (
            inputs
            if off or _never(self.rate)
            else drop(self.rngs(), self.rate, inputs, self.broadcast_dims)
        )
