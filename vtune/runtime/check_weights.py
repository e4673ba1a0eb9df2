"""Compares how much every row of the data counts, in the loss and in metrics, with what can be
trained and scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.data.looks import held
from vtune.learner.protocol import Learner
from vtune.types import PyTree
from vtune.xla.host import on_host
from vtune.xla.jaxpr import opened


class Weighing(NamedTuple):
    """The weights of all rows of the data, of data on the host of a block of them, as a traced
    function of the data's entries.

    Attributes:
      names: of what is weighed, such as "loss", in the order of the function's outputs.
      traced: its jaxpr; the model's outputs come first among its arguments, so many leaves.
      consts: of the jaxpr; None for a traced hyperparameter.
      rows: how many it weighs.
    """

    names: tuple[str, ...]
    traced: Any
    leaves: int
    consts: tuple[Any, ...]
    rows: int


Weighings = dict[bool, Weighing]  # by whether it is of training
BLOCK = 2**14  # rows
PARTS = {True: "training rows", False: "validation rows"}


def weighings(
    learner: Learner, h: Any, outputs: PyTree, batch: Any, data: Data | None
) -> Weighings:
    """Returns the weights of all rows; without those that cannot be traced for as many rows.

    Args:
      outputs, batch: of some rows. data: as shapes.
    """
    if learner.weights is None or data is None or outputs is None:
        return {}
    rows = jax.tree.leaves(batch)[0].shape[0]
    count = BLOCK if data.on_host else jax.tree.leaves(data.arrays)[0].shape[0]

    def of_all(leaf: Any) -> Any:
        shape = (count, *leaf.shape[1:]) if leaf.shape[:1] == (rows,) else leaf.shape
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    outputs, batch = jax.tree.map(of_all, outputs), jax.tree.map(of_all, batch)
    found = {}
    for train in (True, False):
        weigh = lambda outputs, batch, train=train: learner.weights(h, outputs, batch, train)
        try:
            traced, shapes = jax.make_jaxpr(weigh, return_shape=True)(outputs, batch)
        except Exception:  # a loss written for one number of rows, which the program shows
            continue
        jaxpr, consts = opened(traced)
        known = tuple(None if isinstance(c, jax.core.Tracer) else c for c in consts)
        leaves = len(jax.tree.leaves(outputs))
        found[train] = Weighing(tuple(sorted(shapes)), jaxpr, leaves, known, count)
    return found


def check_weights(
    by_cohort: Iterable[Weighings], data: Data | None, parts: Mapping[bool, str] = PARTS
) -> None:
    """Raises ValueError where weights are negative or no numbers, or leave nothing to train on or
    to score.

    Args:
      parts: what the rows of training and those of validation are called; those looked at.
    """
    if data is None:
        return
    entries = jax.tree.leaves(data.arrays)
    leaves: list[np.ndarray | None] = []
    for found in by_cohort:
        for train in filter(found.__contains__, parts):
            leaves = leaves or [held(entry) for entry in entries]
            for name, weights in _weights(found[train], leaves, len(entries[0])):
                for fold, rows in _rows(data, train):
                    what = parts[train] if fold is None else f"{parts[train]} of fold {fold}"
                    _check(name, weights[rows], rows, what)


def _weights(
    weighing: Weighing, leaves: Sequence[np.ndarray | None], count: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the weights of all rows by name, those that are known.

    Args:
      leaves: the entries of the data; None for those that are not known. count: of rows.
    """
    for number, name in enumerate(weighing.names):
        parts = []
        for start in range(0, count, weighing.rows):
            rows = np.arange(start, start + weighing.rows) % count
            whole = weighing.rows == count
            known = [leaf if leaf is None or whole else leaf[rows] for leaf in leaves]
            args = [None] * weighing.leaves + known
            weights = on_host(weighing.traced, weighing.consts, args, number)
            if weights is None:
                break
            parts.append(weights)
        else:
            yield name, np.concatenate(parts)[:count]


def _rows(data: Data, train: bool) -> Iterator[tuple[int | None, np.ndarray]]:
    """Yields (fold, its rows); the fold is None where there are no folds."""
    if not isinstance(data, Folds):
        yield None, np.asarray(data.train if train else data.valid)
        return
    for fold in range(data.folds):
        yield fold, data.fold(fold)[0 if train else 1]


def _check(name: str, weights: np.ndarray, rows: np.ndarray, what: str) -> None:
    wrong = ~(weights >= 0)
    if wrong.any():
        place = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name} gives row {rows[place[0]]} of the data the weight {weights[tuple(place)]:g}; "
            "weights are 0, which leaves a row out, or more"
        )
    if not weights.any():
        raise ValueError(
            f"{name} gives all {len(rows)} {what} the weight 0, so nothing would count; give some "
            "a weight, or split the rows otherwise"
        )
