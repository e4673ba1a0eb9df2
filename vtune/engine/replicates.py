"""Folds and seeds: where a member is several trainings of one setting, along one axis.

It stands behind the members' axis, fold by fold and in each seed by seed; what users see has an
axis of each, [folds, seeds]. Refiners see members only, whose score is the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.layout import Layout
from vtune.engine.parallel import over_members
from vtune.rng.keys import member_key
from vtune.types import Array, Key, PyTree


class Replicates(NamedTuple):
    """How many trainings a member is.

    Attributes:
      folds: parts of the data, 1 where the data have none. seeds: repeats of each.
      folded: whether batches have an axis of folds.
    """

    folds: int
    seeds: int
    folded: bool


class Replicate(NamedTuple):
    """Which of a member's trainings: the fold and the repeat."""

    fold: Array
    repeat: Array


def replicate_shape(trainings: Replicates | None) -> tuple[int, ...]:
    """The axis behind the members': (folds * seeds,), or none."""
    return () if trainings is None else (trainings.folds * trainings.seeds,)


def split_replicates(trainings: Replicates, leaf: Any, at: int = 0) -> Any:
    """An array with an axis of trainings at `at`, as two: [folds, seeds]."""
    folds, seeds, _ = trainings
    return leaf.reshape(*leaf.shape[:at], folds, seeds, *leaf.shape[at + 1 :])


def training_key(seed: Any, id: Any, place: Replicate | None) -> Key:
    """The key of one training of a member."""
    return member_key(seed, id) if place is None else member_key(seed, id, *place)


def each(f: Callable[..., PyTree], trainings: Replicates | None) -> Callable[..., PyTree]:
    """f of one training's arrays, for arrays that may have an axis of trainings."""
    return f if trainings is None else jax.vmap(f)


def over_trainings(
    f: Callable[[Replicate | None, PyTree, PyTree], PyTree], trainings: Replicates | None
) -> Callable[[PyTree, PyTree], PyTree]:
    """Lifts `f(place, own, rows)` of ONE training to all of a member's, side by side.

    Args:
      f: `own` is what the training has of its own, `rows` the batches that all seeds share.

    Returns:
      (own [trainings, ...], rows [folds, ...]) -> results [trainings, ...].
    """
    if trainings is None:
        return lambda own, rows: f(None, own, rows)
    folds, seeds, folded = trainings
    places = _places(trainings, folds * seeds)
    if seeds == 1 or not folded:
        side_by_side = jax.vmap(f, in_axes=(0, 0, 0 if folded else None))
        return lambda own, rows: side_by_side(places, own, rows)

    def all_(own: PyTree, rows: PyTree) -> PyTree:
        place, own = jax.tree.map(lambda a: split_replicates(trainings, a), (places, own))
        made = jax.vmap(jax.vmap(f, in_axes=(0, 0, None)))(place, own, rows)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), made)

    return all_


def over_all(
    f: Callable[..., PyTree],
    trainings: Replicates | None,
    layout: Layout,
    in_place: bool = False,
    fused: int = 1,
) -> Callable[[PyTree, PyTree, PyTree, PyTree], PyTree]:
    """Lifts `f(place, member, own, rows, shared)` of ONE training to all trainings of all members.

    Where members come one after the other their trainings do too, in the same loop; elsewhere a
    member's are side by side.

    Args:
      f: `member` is what a member's trainings share, `own` what each has. `rows(*index)` are its
        fold's rows at an index.
      in_place: f returns the new `own`, as in `over_members`. fused: so many trainings there.

    Returns:
      (members [pop, ...], own [pop, trainings, ...], rows [folds, ...], shared) -> results
      [pop, trainings, ...].
    """

    def nested(members: PyTree, own: PyTree, rows: PyTree, shared: PyTree) -> PyTree:
        def one(pair: Any, shared: Any) -> PyTree:
            member, own = pair
            rows, shared = shared
            training = lambda place, own, rows: f(place, member, own, _at(rows), shared)
            return over_trainings(training, trainings)(own, rows)

        return over_members(one, layout, in_place, fused)((members, own), (rows, shared))

    if trainings is None or layout.width != 1:
        return nested
    (count,) = replicate_shape(trainings)

    def flat(members: PyTree, own: PyTree, rows: PyTree, shared: PyTree) -> PyTree:
        def one(pair: Any, shared: Any) -> PyTree:
            (place, member), own = pair
            rows, shared = shared
            fold = (place.fold,) if trainings.folded else ()
            return f(place, member, own, _at(rows, *fold), shared)

        size = jax.tree.leaves(members)[0].shape[0]
        alike = jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), members)
        merged = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), own)
        pairs = (_places(trainings, size * count), alike), merged
        made = over_members(one, layout, in_place, fused)(pairs, (rows, shared))
        return jax.tree.map(lambda a: a.reshape(size, count, *a.shape[1:]), made)

    return flat


def _places(trainings: Replicates, size: int) -> Replicate:
    """Where each of so many trainings is, [size], member after member."""
    folds, seeds, _ = trainings
    number = np.arange(size, dtype=np.int32)  # known before the program runs
    return Replicate(*map(jnp.asarray, (number // seeds % folds, number % seeds)))


def _at(rows: PyTree, *place: Array) -> Callable[..., PyTree]:
    return lambda *index: jax.tree.map(lambda a: a[(*place, *index)], rows)
