"""Weights from elsewhere, laid over those of a member."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from vtune.types import PyTree


def plain(tree: Any) -> PyTree:
    """Nested dicts of arrays, of what Flax returns (FrozenDict, nnx.State) or a user wrote."""
    if isinstance(tree, nnx.State):
        tree = nnx.to_pure_dict(tree)
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    return tree


def overlay(base: PyTree, part: PyTree, path: str = "") -> PyTree:
    """`base`, with the leaves that `part` has, whole or in part, in the types of `base`.

    Raises:
      ValueError: `part` has what `base` has not, or another shape.
    """
    if isinstance(base, Mapping) and isinstance(part, Mapping):
        unknown = [key for key in part if key not in base]
        if unknown:
            raise ValueError(
                f"init_from: the model has no {path}{unknown[0]!r}; it has there "
                f"{sorted(map(str, base)) or 'nothing'}: leave out what it has not"
            )
        return {
            key: overlay(value, part[key], f"{path}{key}/") if key in part else value
            for key, value in base.items()
        }
    if isinstance(base, Mapping) or isinstance(part, Mapping):
        raise ValueError(
            f"init_from: {path.rstrip('/') or 'the tree'} is "
            f"{'a branch' if isinstance(base, Mapping) else 'an array'} in the model and not so in "
            "the weights given"
        )
    if jnp.shape(part) != jnp.shape(base):
        raise ValueError(
            f"init_from: {path.rstrip('/')} has shape {list(jnp.shape(part))}, in the model "
            f"{list(jnp.shape(base))}; leave it out, and it is drawn as always"
        )
    return jnp.asarray(part, base.dtype)
