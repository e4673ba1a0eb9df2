"""Replaces a member's first weights, or some of them, by given ones such as pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.types import PyTree


def plain(tree: Any) -> PyTree:
    """Returns a tree of weights (FrozenDict, nnx.State or dicts) as nested plain dicts."""
    if isinstance(tree, nnx.State):
        tree = nnx.to_pure_dict(tree)
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    return tree


def paths(tree: PyTree) -> dict[tuple, Any]:
    """Returns the leaves of nested dicts by their path, a tuple of keys; none for None."""
    leaves = flatten_dict(tree or {})
    return {path: leaf for path, leaf in leaves.items() if leaf is not None}


def nested(leaves: Mapping[tuple, Any]) -> PyTree:
    """Returns nested dicts of leaves by their path; None if there are no leaves."""
    return unflatten_dict(dict(leaves)) or None


def overlay(base: PyTree, part: PyTree, path: str = "") -> PyTree:
    """Returns `base` with the leaves that `part` holds, cast to the types of `base`. Those that
    `base` lacks are left out: members of another structure may have them, see `unknown`.

    Args:
      part: a tree like `base`, whole or in part. path: of `base` in the whole tree, "a/b/".

    Raises:
      ValueError: `part` has a leaf of another shape, or a branch in the place of an array.
    """
    if not isinstance(base, Mapping) and not isinstance(part, Mapping):
        return _replaced(base, part, path.rstrip("/"))
    if not isinstance(base, Mapping) or not isinstance(part, Mapping):
        kinds = ("a branch", "an array") if isinstance(base, Mapping) else ("an array", "a branch")
        raise ValueError(
            f"init_from: {path.rstrip('/') or 'the tree'} is {kinds[0]} in the model and "
            f"{kinds[1]} in the weights given; nest the weights as the model does"
        )
    return {
        key: overlay(value, part[key], f"{path}{key}/") if key in part else value
        for key, value in base.items()
    }


def unknown(base: PyTree, part: PyTree, path: tuple = ()) -> dict[tuple, str]:
    """Returns the leaves of `part` that `base` has no place for: by path, in words."""
    if not isinstance(base, Mapping) or not isinstance(part, Mapping):
        return {}
    found: dict[tuple, str] = {}
    there = ", ".join(map(repr, sorted(map(str, base)))) or "none"
    above = "".join(f"{name}/" for name in path)
    for key, value in part.items():
        if key in base:
            found |= unknown(base[key], value, (*path, key))
        else:
            what = f"{above}{key!r} (known here: {there})"
            leaves = paths(value) if isinstance(value, Mapping) else {(): value}
            found |= {(*path, key, *rest): what for rest in leaves}
    return found


def _replaced(base: Any, leaf: Any, path: str) -> jax.Array:
    if jnp.shape(leaf) != jnp.shape(base):
        raise ValueError(
            f"init_from: {path} has shape {list(jnp.shape(leaf))}, but "
            f"{list(jnp.shape(base))} in the model; leave it out, and the model draws its own"
        )
    return jnp.asarray(leaf, base.dtype)
