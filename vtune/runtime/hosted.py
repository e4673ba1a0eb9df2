"""What lies over several processes, brought to their hosts. All processes must ask together."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vtune import target
from vtune.engine.population import Population
from vtune.rng.keys import from_words, is_key
from vtune.runtime import processes
from vtune.runtime.gathering import gathered
from vtune.types import PyTree


def is_here(tree: PyTree) -> bool:
    """Whether this process has all of these arrays."""
    return all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(tree))


def with_small_parts(carry: PyTree) -> PyTree:
    """Returns the carry with all but the members' states as NumPy arrays, on every process; as it
    is where there is one process. Nothing is sent where a program left them whole everywhere."""
    if not processes.several():
        return carry
    bare = tuple(cohort._replace(population=_stateless(cohort.population)) for cohort in carry)
    leaves, structure = jax.tree.flatten(bare)
    host = gathered([_words(leaf) for leaf in leaves])  # copies: the carry will be donated
    assert host is not None
    small = jax.tree.unflatten(structure, map(_with_keys, host, leaves))
    return tuple(
        cohort._replace(population=_with_states(cohort.population, whole.population))
        for cohort, whole in zip(small, carry, strict=True)
    )


def on_first_host(carry: PyTree) -> PyTree:
    """Returns the carry as NumPy arrays in the first process, and in others without states.

    Args:
      carry: see `with_small_parts`.
    """
    first, cohorts = target.is_first_process(), []
    for cohort in carry:
        population, best = cohort.population, cohort.population.best
        if best is not None and best.state is not None:
            best = best._replace(state=all_members(best.state, first))
        state = all_members(population.state, first)
        cohorts.append(cohort._replace(population=population._replace(state=state, best=best)))
    return tuple(cohorts)


def _stateless(population: Population) -> Population:
    best = population.best
    return population._replace(state=None, best=best and best._replace(state=None))


def _with_states(small: Population, whole: Population) -> Population:
    best = small.best and small.best._replace(state=whole.best.state)
    return small._replace(state=whole.state, best=best)


def _words(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def _with_keys(words: np.ndarray, leaf: Any) -> Any:
    return from_words(words, leaf) if is_key(leaf) else words


def one_member(state: PyTree, slot: int) -> PyTree:
    """Returns the state in one slot of a population, leaves [1, ...], on every process."""
    leaves, structure = jax.tree.flatten(state)
    rows = gathered([_words(leaf) for leaf in leaves], row=slot)
    assert rows is not None
    made = [
        from_words(row, jax.eval_shape(lambda leaf: leaf[:1], leaf)) if is_key(leaf) else row
        for row, leaf in zip(rows, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, made)


def all_members(state: PyTree, keep: bool = True) -> PyTree:
    """Returns the states of a population on the host, keys as they are.

    Args:
      keep: whether this process wants them; else it takes part, and gets None.
    """
    if is_here(state):
        return state
    leaves, structure = jax.tree.flatten(state)
    host = gathered([_words(leaf) for leaf in leaves], keep)
    if host is None:
        return None
    return jax.tree.unflatten(structure, map(_with_keys, host, leaves))
