"""Folds and seeds: where a member is several trainings of one setting, as axes [folds, seeds].

They stand behind the members' axis: refiners see members only, whose score is the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vtune.keys import member_key
from vtune.layout import Layout
from vtune.types import Array, Key, PyTree


class Trainings(NamedTuple):
    """How many trainings a member is.

    Attributes:
      folds: parts of the data, 1 where the data have none. seeds: repeats of each.
      folded: whether batches have an axis of folds.
    """

    folds: int
    seeds: int
    folded: bool


class Place(NamedTuple):
    """Which of a member's trainings: the fold and the repeat."""

    fold: Array
    repeat: Array


def axes(trainings: Trainings | None) -> tuple[int, ...]:
    """The axes behind the members': (folds, seeds), or none."""
    return () if trainings is None else (trainings.folds, trainings.seeds)


def training_key(seed: Any, id: Any, place: Place | None) -> Key:
    """The key of one training of a member."""
    return member_key(seed, id) if place is None else member_key(seed, id, *place)


def over_trainings(
    f: Callable[[Place | None, PyTree, PyTree], PyTree],
    trainings: Trainings | None,
    layout: Layout | None = None,
) -> Callable[[PyTree, PyTree], PyTree]:
    """Lifts `f(place, own, rows)` of ONE training to all of a member's.

    Args:
      f: `own` is what the training has of its own, `rows` the batches that all seeds share.
      layout: where members come one after the other, so do their trainings; None: side by side.

    Returns:
      (own [folds, seeds, ...], rows [folds, ...]) -> results [folds, seeds, ...].
    """
    if trainings is None:
        return lambda own, rows: f(None, own, rows)
    one_by_one = layout is not None and layout.width == 1

    def lift(g: Callable[[Any], PyTree], xs: Any, count: int) -> PyTree:
        if count == 1:  # no loop, which would cost time to compile
            only = g(jax.tree.map(lambda leaf: leaf[0], xs))
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], only)
        return lax.map(g, xs) if one_by_one else jax.vmap(g)(xs)

    def seeds(fold: Array, own: PyTree, rows: PyTree) -> PyTree:
        repeat = jnp.arange(trainings.seeds, dtype=jnp.int32)
        one = lambda xs: f(Place(fold, xs[0]), xs[1], rows)
        return lift(one, (repeat, own), trainings.seeds)

    def folds(own: PyTree, rows: PyTree) -> PyTree:
        fold = jnp.arange(trainings.folds, dtype=jnp.int32)
        if trainings.folded:
            return lift(lambda xs: seeds(*xs), (fold, own, rows), trainings.folds)
        return lift(lambda xs: seeds(xs[0], xs[1], rows), (fold, own), trainings.folds)

    return folds


def each(f: Callable[..., PyTree], trainings: Trainings | None) -> Callable[..., PyTree]:
    """f of one training's arrays, for arrays that may have axes [folds, seeds]."""
    for _ in axes(trainings):
        f = jax.vmap(f)
    return f
