"""Folds whose sizes are arguments of the program: other rows run the same executable, as many as
there is room for.

A fold without training rows is empty, and so is the slot of a member whose id is below 0. Nothing
is trained there; what is scored there means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vtune.folds import Folds
from vtune.search import Cohort
from vtune.types import Array

Rows = Sequence[np.ndarray]  # by fold


@jax.tree_util.register_pytree_node_class
class Room(Folds):
    """Room for folds of any sizes.

    Make one with `room_for`. Rounds begin with an epoch.

    Attributes:
      train_sizes, valid_sizes: [folds] int32. least: int32, the training rows of the smallest fold
        that is not empty.
    """

    def __init__(self, *parts: Any):
        super().__init__(*parts[:5])
        self.least = parts[5]

    def tree_flatten(self) -> tuple[tuple[Any, ...], Any]:
        held = (self.arrays, self.train, self.valid, self.train_sizes, self.valid_sizes)
        return (*held, self.least), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> Room:
        return cls(*children)

    @property
    def folds(self) -> int:
        """How many there are places for."""
        return self.train.shape[0]

    @property
    def train_rows(self) -> int:
        """Training rows of a fold at most."""
        return self.train.shape[1]

    @property
    def valid_rows(self) -> int:
        """Validation rows of a fold at most."""
        return self.valid.shape[1]

    def steps(self, batch_size: int) -> Any:
        """In an epoch, traced."""
        return lax.div(self.least, jnp.int32(batch_size))

    def paced(self, cohort: Cohort, batch_size: int, epochs: int) -> Cohort:
        """With the steps that there are as traced numbers, by the names that members know."""
        each = np.full(len(cohort.id), self.least // batch_size, np.int32)
        own = {"steps_per_epoch": each, "total_steps": each * np.int32(epochs)}
        return cohort._replace(hparams={**cohort.hparams, **own})

    def instead(self, arrays: Mapping[str, np.ndarray], train: Rows, valid: Rows) -> Room | None:
        """Other arrays and folds in the place of these, the other folds empty; None where there is
        no room for them."""
        own = {name: (a.shape[1:], a.dtype) for name, a in self.arrays.items()}
        if own != {name: (a.shape[1:], a.dtype) for name, a in arrays.items()}:
            return None
        rows = {name: len(a) for name, a in self.arrays.items()}
        room = (rows, self.folds, self.train_rows, self.valid_rows)
        if any(
            there < asked
            for there, asked in (
                *((rows[name], len(a)) for name, a in arrays.items()),
                (self.folds, len(train)),
                (self.train_rows, max(map(len, train))),
                (self.valid_rows, max(map(len, valid))),
            )
        ):
            return None
        return _made(arrays, train, valid, *room)


def room_for(arrays: Mapping[str, np.ndarray], train: Rows, valid: Rows, most: int) -> Room:
    """Folds of rows that are known to be right, with room to train on `most` rows."""
    rows = {name: len(array) for name, array in arrays.items()}
    return _made(arrays, train, valid, rows, len(train), most, max(map(len, valid)))


def awake(ids: Array, fold: Array, train_sizes: Array) -> Array:
    """Whether there is something to train."""
    return (ids >= 0) & (train_sizes[fold] > 0)


def _made(
    arrays: Mapping[str, np.ndarray],
    train: Rows,
    valid: Rows,
    rows: Mapping[str, int],
    folds: int,
    train_rows: int,
    valid_rows: int,
) -> Room:
    """All of it filled up with zeros."""
    sizes = [
        np.array([*map(len, part), *[0] * (folds - len(part))], np.int32) for part in (train, valid)
    ]
    index = [np.zeros((folds, most), np.int32) for most in (train_rows, valid_rows)]
    for whole, parts in zip(index, (train, valid), strict=True):
        for fold, part in enumerate(parts):
            whole[fold, : len(part)] = part
    held = {}
    for name, array in arrays.items():
        empty = np.zeros((rows[name] - len(array), *array.shape[1:]), array.dtype)
        held[name] = jax.device_put(np.append(array, empty, axis=0) if len(empty) else array)
    return Room(held, *index, *sizes, sizes[0][: len(train)].min())
