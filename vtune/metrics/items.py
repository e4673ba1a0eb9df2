"""What metrics of ranked items read: scores of items, which are relevant, which do not count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.metrics.base import targets
from vtune.metrics.select import chosen_of_batch, chosen_of_rows
from vtune.types import Array, Batch


def is_listed(target: Any, items: int) -> bool:
    """Whether a target lists ids, [rows] or [rows, ids]; else it is a relevance an item."""
    return target.ndim == 1 or target.shape[1] != items


def is_excluded(exclude: Any, batch: Batch, items: int) -> Array:
    """Returns which items of a batch have no place, [rows or 1, items]."""
    if exclude is None:
        return jnp.zeros((1, items), bool)
    given = chosen_of_batch("exclude", exclude, batch)
    if given.dtype == bool:
        return given
    rows = jnp.arange(given.shape[0])[:, None]
    ids = jnp.where(given < 0, items, given)  # beyond the end, and so nowhere
    return jnp.zeros((given.shape[0], items), bool).at[rows, ids].set(True, mode="drop")


def check_items(who: str, outputs: Any, arrays: Mapping[str, np.ndarray], exclude: Any) -> int:
    """Returns the number of items.

    Raises:
      ValueError, TypeError: scores, target and excluded items do not go together.
    """
    target = np.asarray(targets(who, arrays))
    leaves = jax.tree.leaves(outputs)
    if len(leaves) != 1:
        raise TypeError(
            f"{who} needs one array of scores, the model returns {len(leaves)}; say which: "
            f"vt.metrics.{who}(output=...), a name, a position or a function"
        )
    shape = leaves[0].shape[1:]
    if len(shape) != 1 or shape[0] < 2:
        raise ValueError(
            f"{who} ranks the items of a row, and the model's outputs are {list(shape)} a row; "
            "return a score for every item, [rows, items]"
        )
    items = shape[0]
    relevant = _relevant(who, target, items)
    if not relevant.any():
        raise ValueError(f"{who}: no row of batch['y'] has a relevant item, so nothing counts")
    if exclude is not None:
        left_out = _excluded(who, chosen_of_rows("exclude", exclude, arrays), items, len(target))
        if not (relevant & ~left_out).any():
            raise ValueError(
                f"{who}: exclude= takes every relevant item out, so nothing counts; exclude what "
                "was seen in training, and not what is held out"
            )
    return items


def _relevant(who: str, target: np.ndarray, items: int) -> np.ndarray:
    """Returns which items are relevant, [rows, items]."""
    if target.ndim not in (1, 2):
        raise ValueError(
            f"{who}: batch['y'] is {list(target.shape[1:])} a row; give the relevance of every "
            f"item, [rows, {items}], or the ids of the relevant ones, [rows] or [rows, ids]"
        )
    if is_listed(target, items):
        if target.dtype.kind not in "iu":
            raise TypeError(
                f"{who}: batch['y'] is {target.dtype}{list(target.shape[1:])} a row for {items} "
                "items, and would list ids; give whole numbers, or the relevance of every item, "
                f"[rows, {items}]"
            )
        return _listed(f"{who}: batch['y']", target.reshape(len(target), -1), items)
    if target.min() < 0:
        raise ValueError(
            f"{who}: batch['y'] is the relevance of {items} items, and its least is "
            f"{target.min()}; relevance is 0 or more. If {target.min()} marks items to leave out, "
            f"say so: vt.metrics.{who}(ignore={target.min()}); ids are listed in fewer columns "
            "than there are items"
        )
    return target > 0


def _excluded(who: str, given: np.ndarray, items: int, rows: int) -> np.ndarray:
    """Returns which items have no place, [rows, items]."""
    if given.dtype == bool:
        fits = given.shape == (rows, items)
    else:  # a mask of 0 and 1 would be read as ids
        mask = given.shape[1:] == (items,) and np.isin(given, (0, 1)).all()
        fits = given.dtype.kind in "iu" and given.ndim == 2 and len(given) == rows and not mask
    if not fits:
        raise ValueError(
            f"{who}: exclude= is {given.dtype}{list(given.shape)}; give a mask of booleans "
            f"[{rows}, {items}], or whole numbers [{rows}, ids], filled up with -1"
        )
    return given if given.dtype == bool else _listed(f"{who}: exclude=", given, items)


def _listed(what: str, ids: np.ndarray, items: int) -> np.ndarray:
    """Returns the items that ids [rows, n] list, as a mask [rows, items]."""
    ids = ids.astype(np.int64)
    stray = (ids < -1) | (ids >= items)
    if stray.any():
        row, column = np.argwhere(stray)[0]
        raise ValueError(
            f"{what} has the id {ids[row, column]} in row {row}; there are {items} items, 0 to "
            f"{items - 1}, and -1 for none"
        )
    found = np.zeros((len(ids), items + 1), bool)  # the last for none
    found[np.arange(len(ids))[:, None], ids] = True
    return found[:, :items]
