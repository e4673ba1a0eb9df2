"""Penalties added to the training loss: L1 and L2, with a weight that may be traced.

    penalty=lambda params, h: vt.penalties.l2(params, h["l2"], only="kernel")

The sums run over all parameters, or over those with the name `only` in their path. "kernel" leaves
biases out, as scikit-learn and Keras do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vtune.types import Array, PyTree, at_least_single


def l1(params: PyTree, weight: Any, *, only: str | None = None) -> Array:
    """Returns weight * sum |w| (Tibshirani 1996). The derivative at 0 is 0.

    Raises:
      ValueError: no parameter has `only` in its path.
    """
    return weight * _total(jnp.abs, "l1", params, only)


def l2(params: PyTree, weight: Any, *, only: str | None = None) -> Array:
    """Returns weight * sum w^2, without a half, as in Keras.

    Raises:
      ValueError: no parameter has `only` in its path.
    """
    return weight * _total(jnp.square, "l2", params, only)


def elastic_net(
    params: PyTree, weight: Any, l1_ratio: Any = 0.5, *, only: str | None = None
) -> Array:
    """Returns weight * (l1_ratio * sum |w| + (1 - l1_ratio) / 2 * sum w^2) (Zou and Hastie 2005).

    Raises:
      ValueError: no parameter has `only` in its path.
    """
    first = l1(params, l1_ratio, only=only)
    return weight * (first + l2(params, (1 - l1_ratio) / 2, only=only))


def _total(term: Callable[[Array], Array], who: str, params: PyTree, only: str | None) -> Array:
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree.leaves_with_path(params)
    ]
    chosen = [leaf for path, leaf in named if only is None or only in path.split("/")]
    if not chosen:
        paths = ", ".join(path for path, _ in named)
        raise ValueError(
            f"penalties.{who}: only={only!r} is in no parameter's path; there are {paths}"
        )
    return jnp.sum(jnp.stack([jnp.sum(term(at_least_single(leaf))) for leaf in chosen]))
