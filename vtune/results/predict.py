"""Outputs of one trained member for new rows: one jitted function, batches of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.caches import bounded_cache
from vtune.data.column_names import check_columns, columns_of
from vtune.data.convert import to_rows
from vtune.data.dataset import apply_scaling
from vtune.data.validate import check_finite
from vtune.engine.plan import CohortPlan
from vtune.hparams import Hparams, Static
from vtune.learner.captured import captured
from vtune.learner.protocol import Learner
from vtune.types import PyTree


@bounded_cache(32, lambda learner, static: captured(learner))
def _predictor(learner: Learner, static: Static) -> Any:
    """The learner's predict function, jitted once per learner and structure."""

    def run(traced: dict[str, Any], state: PyTree, batch: Any) -> PyTree:
        assert learner.predict is not None
        return learner.predict(Hparams(traced, static.value), state, batch)

    return jax.jit(run)


def predict(
    learner: Learner,
    cohort: CohortPlan,
    traced: dict[str, Any],
    state: PyTree,
    batch: dict[str, np.ndarray],
    size: int | None,
) -> PyTree:
    """Returns the outputs [rows, ...] of one training, computed batch by batch.

    Outputs that do not begin with the rows are [batches, ...].

    Args:
      traced: its traced hyperparameters. batch: arrays [rows, ...] by name, scaled as in training.
      size: rows at a time; None for all at once.

    Raises:
      ValueError: the learner has no predict function.
    """
    if learner.predict is None:
        raise ValueError(
            "predict: this learner has no predict function; give vt.Learner(predict=...), or "
            "vt.train_state_learner(..., predict=...)"
        )
    rows = len(next(iter(batch.values())))
    size = min(size or rows, rows)
    call = _predictor(learner, cohort.static)
    parts = []
    for start in range(0, rows, size):
        # The last batch is filled up with the last row: one shape, one compilation.
        index = np.minimum(np.arange(start, start + size), rows - 1)
        parts.append(call(traced, state, {k: v[index] for k, v in batch.items()}))

    def join(*leaves: Any) -> Any:  # what does not begin with the rows comes once per batch
        by_row = jnp.shape(leaves[0])[:1] == (size,)
        return jnp.concatenate(leaves)[:rows] if by_row else jnp.stack(leaves)

    return jax.tree.map(join, *parts)


def checked_rows(
    x: Any, rows: Mapping[str, Any], columns: Mapping[str, Any], who: str = "predict"
) -> dict[str, np.ndarray]:
    """Returns the arrays to predict for, by name of the data's entry.

    Args:
      x: an array (the entry "x") or a dict of arrays. rows, columns: see `Trained`.
      who: the method that messages name.

    Raises:
      TypeError: they are no numbers, or none of the kind in training.
      ValueError: a row of another shape than in training, other columns of a frame, no rows, or
        values that are not finite, or whole ones beyond the type in training.
    """
    given = x if isinstance(x, dict) else {"x": x}
    if rows and not set(given) & set(rows):
        raise ValueError(
            f"{who}: the sweep was trained on the entries {list(rows)}, got {list(given)}; give "
            "a dict with the entries that the model takes"
        )
    for name, value in given.items():
        found = columns_of(value)
        check_columns(who, name, columns.get(name, found or ()), found)
    batch = {k: to_rows(who, k, v, rows[k][1] if k in rows else None) for k, v in given.items()}
    for name, array in batch.items():
        if name in rows and array.shape[1:] != tuple(rows[name][0]):
            wanted = ", ".join(map(str, ("rows", *rows[name][0])))
            raise ValueError(
                f"{who}: {name!r} has shape {list(array.shape)}; in training a row was "
                f"{rows[name][0]}, so give [{wanted}] (one row: x[None])"
            )
    lengths = {name: len(array) if array.ndim else 0 for name, array in batch.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(
            f"{who}: all arrays must have the same number of rows, 1 or more; got {lengths}"
        )
    check_finite(who, batch)
    return batch


def scaled_rows(
    who: str,
    scaling: Mapping[str, Any],
    batch: Mapping[str, np.ndarray],
    types: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Returns rows scaled as in training, in the types in which the program takes them.

    Args:
      who: the method that messages name. scaling: of one fold. batch: see `checked_rows`.
      types: by name, the type to cast to; that in which JAX holds the array when left out.

    Raises:
      ValueError: numbers beyond the type.
    """
    with np.errstate(over="ignore"):
        scaled = apply_scaling(scaling, batch)
        kept = {k: jax.dtypes.canonicalize_dtype(v.dtype) for k, v in scaled.items()}
        cast = {k: v.astype((types or {}).get(k, kept[k]), copy=False) for k, v in scaled.items()}
    for name, array in cast.items():
        whole = jnp.issubdtype(array.dtype, jnp.integer)
        beyond = np.count_nonzero(array != scaled[name] if whole else ~np.isfinite(array))
        if beyond:
            raise ValueError(
                f"{who}: {name!r} holds {beyond} numbers beyond {array.dtype}"
                f"{' once it is scaled as in training' if name in scaling else ''}; look at its "
                "units, or set jax_enable_x64"
            )
    return cast
