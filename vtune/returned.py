"""Checks of what a user's functions return: what came, and what to return instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

PyTree = Any


class ReturnedError(TypeError):
    """A user's function returned what cannot be used. The message says everything: no other cause,
    such as a traced hyperparameter, is looked for."""


def described(value: Any) -> str:
    """Returns what a value is, in a few words."""
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(repr, list(value)[:6])) or 'nothing'}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    return f"an object of type {type(value).__name__}"


def is_numeric(value: Any) -> bool:
    """Whether a value is a number, or an array of numbers or of random keys."""
    if isinstance(value, bool | int | float | complex):
        return True
    if not (hasattr(value, "dtype") and hasattr(value, "shape")):
        return False
    kinds = (jnp.number, jnp.bool_, jax.dtypes.extended)
    return any(jax.dtypes.issubdtype(value.dtype, kind) for kind in kinds)


def check_structure(who: str, before: PyTree, after: PyTree) -> None:
    """Raises ReturnedError if the function `who` changed the structure of a state."""
    a: Any = jax.tree.structure(before)
    b: Any = jax.tree.structure(after)
    if a != b:
        raise ReturnedError(
            f"{who} changed the structure of the state, from {a} to {b}; return the structure that "
            "init returns"
        )


def check_real(who: str, value: Any, instead: str, part: str = "") -> None:
    """Raises ReturnedError unless the function `who` returned a real number or an array of them.

    Args:
      instead: what to return, for the message. part: of what was returned, such as " as 'loss'".
    """
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    dtype = jnp.result_type(value) if is_numeric(value) else None
    if dtype is None or not any(jax.dtypes.issubdtype(dtype, kind) for kind in kinds):
        raise ReturnedError(_said(who, value, instead, part))


def real(who: str, value: Any, instead: str, part: str = "") -> Array:
    """Returns as an array what `check_real` finds to be a real number or an array of them."""
    check_real(who, value, instead, part)
    return jnp.asarray(value)


def check_arrays(who: str, tree: PyTree, instead: str, part: str = "") -> None:
    """Raises ReturnedError unless the function `who` returned a pytree of arrays and numbers.

    Args:
      instead, part: as in `check_real`.
    """
    if tree is None:
        raise ReturnedError(_said(who, tree, instead, part))
    try:
        leaves = jax.tree.leaves_with_path(tree)
    except ValueError as error:
        raise ReturnedError(
            f"{who} returned a dict{part} with keys of several types, which JAX cannot sort; use "
            "strings"
        ) from error
    for path, leaf in leaves:
        if not is_numeric(leaf):
            place = f"{part} in {jax.tree_util.keystr(path)}" if path else part
            raise ReturnedError(_said(who, leaf, instead, f"{place}, which is no array"))


def _said(who: str, value: Any, instead: str, part: str) -> str:
    forgotten = "end it with `return` and " if value is None and not part else "return "
    return f"{who} returned {described(value)}{part}; {forgotten}{instead}"


def check_pairs(
    who: str, function: Callable[..., Any], given: tuple[PyTree, ...], values: Array, rows: int
) -> None:
    """Raises ValueError for values [batch, batch] made by broadcasting [batch, 1] to [batch].

    Of a batch with one row less, such values lose a column; a second axis that is meant does not.

    Args:
      function: called with what was `given`; its values are those of a batch of `rows` rows.
    """
    if rows < 2 or values.ndim < 2 or values.shape[1] != rows:
        return

    def shorter(leaf: Any) -> Any:
        return leaf[:-1] if jnp.ndim(leaf) and len(leaf) == rows else leaf

    fewer = jax.eval_shape(lambda: function(*jax.tree.map(shorter, given)))
    if fewer.shape[1] == rows - 1:
        raise ValueError(
            f"{who} returned a value for every pair of rows, {list(values.shape)} for a batch of "
            f"{rows}; most likely it broadcast outputs [{rows}, 1] against labels [{rows}]: write "
            "outputs[:, 0] (or take .mean(axis=1) if pairs are meant)"
        )
