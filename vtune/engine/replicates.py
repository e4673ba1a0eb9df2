"""Replicates: the trainings of one member, one for each fold of the data and each repeated seed.

They share the member's hyperparameters. Their axis stands behind the members' axis, fold by fold
and within a fold seed by seed; users see it as two axes, [folds, seeds]. Refiners see members only,
whose score is the mean over the replicates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune import target
from vtune.engine.layout import Layout
from vtune.engine.parallel import dealt_out, over_members
from vtune.rng.keys import member_key
from vtune.types import Array, Key, PyTree


class Replicates(NamedTuple):
    """How many replicates a member has.

    Attributes:
      folds: folds of the data, 1 where the data have none.
      seeds: repeats in each fold.
      folded: whether batches have an axis of folds.
      common: whether all members and folds draw from the key of member 0 in fold 0.
    """

    folds: int
    seeds: int
    folded: bool
    common: bool = False


class Replicate(NamedTuple):
    """Which replicate of a member: its fold and its repeat."""

    fold: Array
    repeat: Array


def replicate_shape(replicates: Replicates | None) -> tuple[int, ...]:
    """Returns the axis of replicates as a shape: (folds * seeds,), or () where there are none."""
    return () if replicates is None else (replicates.folds * replicates.seeds,)


def split_replicates(replicates: Replicates, leaf: Any, axis: int = 0) -> Any:
    """Returns an array with its axis of replicates split into [folds, seeds]."""
    folds, seeds = replicates.folds, replicates.seeds
    return leaf.reshape(*leaf.shape[:axis], folds, seeds, *leaf.shape[axis + 1 :])


def replicate_key(
    replicates: Replicates | None, seed: Any, id: Any, replicate: Replicate | None
) -> Key:
    """Returns the key of one replicate of a member, or of a member that has none."""
    if replicates is None or replicate is None:
        return member_key(seed, id)
    if replicates.common:
        return member_key(seed, 0, 0, replicate.repeat)
    return member_key(seed, id, *replicate)


def per_replicate(f: Callable[..., PyTree], replicates: Replicates | None) -> Callable[..., PyTree]:
    """Lifts a function of one replicate's arrays to arrays of all, where a member has several."""
    return f if replicates is None else jax.vmap(f)


def over_replicates(
    f: Callable[[Replicate | None, PyTree, PyTree], PyTree], replicates: Replicates | None
) -> Callable[[PyTree, PyTree], PyTree]:
    """Lifts `f(replicate, state, rows)` of one replicate to all replicates of a member, by vmap.

    Args:
      f: `state` is what a replicate does not share, `rows` the batches that all seeds share.

    Returns:
      (states [replicates, ...], rows [folds, ...]) -> results [replicates, ...].
    """
    if replicates is None:
        return lambda state, rows: f(None, state, rows)
    folds, seeds, folded, _ = replicates
    numbers = _numbered(replicates, folds * seeds)
    if seeds == 1 or not folded:
        vmapped = jax.vmap(f, in_axes=(0, 0, 0 if folded else None))
        return lambda states, rows: vmapped(numbers, states, rows)

    def by_fold_and_seed(states: PyTree, rows: PyTree) -> PyTree:
        split = lambda tree: jax.tree.map(lambda leaf: split_replicates(replicates, leaf), tree)
        f_of_seeds = jax.vmap(f, in_axes=(0, 0, None))
        results = jax.vmap(f_of_seeds)(split(numbers), split(states), rows)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), results)

    return by_fold_and_seed


def over_population(
    f: Callable[..., PyTree],
    replicates: Replicates | None,
    layout: Layout,
    in_place: bool = False,
    fused: int = 1,
) -> Callable[[PyTree, PyTree, PyTree, PyTree], PyTree]:
    """Lifts `f(replicate, member, state, rows, shared)` of one replicate to all of all members.

    Where members run one after the other their replicates do too, in the same loop. Elsewhere the
    replicates of a member run side by side.

    Args:
      f: `member` is what the replicates of a member share, `state` what they do not. `rows(*index)`
        returns the rows of the replicate's fold at an index.
      in_place: f returns the new `state`, as in `over_members`.
      fused: replicates that run at a time there.

    Returns:
      (members [pop, ...], states [pop, replicates, ...], rows [folds, ...], shared) -> results
      [pop, replicates, ...].
    """

    def nested(members: PyTree, states: PyTree, rows: PyTree, shared: PyTree) -> PyTree:
        def one_member(pair: Any, rest: Any) -> PyTree:
            (member, state), (rows, shared) = pair, rest
            one_replicate = lambda replicate, state, rows: f(
                replicate, member, state, _indexed(rows), shared
            )
            return over_replicates(one_replicate, replicates)(state, rows)

        lifted = over_members(one_member, layout, in_place, fused)
        return lifted((members, states), (rows, shared))

    if replicates is None or layout.width != 1:
        return nested
    (count,) = replicate_shape(replicates)

    def in_one_loop(members: PyTree, states: PyTree, rows: PyTree, shared: PyTree) -> PyTree:
        def one_replicate(pair: Any, rest: Any) -> PyTree:
            ((replicate, member), state), (rows, shared) = pair, rest
            fold = (replicate.fold,) if replicates.folded else ()
            return f(replicate, member, state, _indexed(rows, *fold), shared)

        size = jax.tree.leaves(members)[0].shape[0]
        repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), members)
        merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), states)
        numbers = _numbered(replicates, size * count)
        lifted = over_members(one_replicate, layout, in_place, fused)
        results = lifted(((numbers, repeated), merged), (rows, shared))
        return jax.tree.map(lambda leaf: leaf.reshape(size, count, *leaf.shape[1:]), results)

    return in_one_loop


def members_dealt_out(members: PyTree, replicates: Replicates | None, layout: Layout) -> PyTree:
    """Returns members [pop, ...] where `over_population` trains them, see `dealt_out`.

    Within one process replicates that run one after the other are dealt out by themselves, in
    every call: few members then have work for more devices, and moving them costs little.
    """
    size = jax.tree.leaves(members)[0].shape[0]
    in_one_loop = replicates is not None and layout.width == 1
    if in_one_loop and size % (layout.devices or 1) and target.processes() == 1:
        return members
    return dealt_out(members, layout)


def _numbered(replicates: Replicates, size: int) -> Replicate:
    """Returns the folds and repeats of so many replicates, [size], member after member."""
    folds, seeds = replicates.folds, replicates.seeds
    number = np.arange(size, dtype=np.int32)  # known before the program runs
    return Replicate(*map(jnp.asarray, (number // seeds % folds, number % seeds)))


def _indexed(rows: PyTree, *leading: Array) -> Callable[..., PyTree]:
    return lambda *index: jax.tree.map(lambda leaf: leaf[(*leading, *index)], rows)
