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


def paths(tree: PyTree, above: tuple = ()) -> dict[tuple, Any]:
    """The leaves of nested dicts by the keys that lead to them; empty for None."""
    if isinstance(tree, Mapping):
        below = [paths(value, (*above, key)) for key, value in tree.items()]
        return {path: leaf for part in below for path, leaf in part.items()}
    return {} if tree is None else {above: tree}


def nested(leaves: Mapping[tuple, Any]) -> PyTree:
    """Nested dicts again; None of nothing."""
    tree: dict[Any, Any] = {}
    for path, leaf in leaves.items():
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = leaf
    return tree or None


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
