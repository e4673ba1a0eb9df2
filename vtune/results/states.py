"""Populations as named arrays and back: every leaf under the path that leads to it.

The names are those of `Population`'s fields, so renaming a field would break saved sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import replicate_shape
from vtune.learner.protocol import traced_once
from vtune.results.trained import Trained
from vtune.rng.keys import from_words, is_key, member_key
from vtune.types import PyTree


class StateMismatchError(ValueError):
    """The leaves in a file are those of another learner's states."""


def named_leaves(trained: Trained) -> dict[str, np.ndarray]:
    """Returns every leaf of every member's state by name, on the host.

    States of dropped members are left out, but for their kept best ones, and so are empty leaves,
    which Orbax refuses.
    """
    leaves = {}
    for number, population in enumerate(trained.populations):
        columns = trained.columns_of(population.id)
        held = states_held(trained.plan.keeps_best, columns, trained.records.parents)
        state = jax.tree.map(lambda leaf, held=held: leaf[:held], population.state)
        for name, leaf in state_leaves(number, state).items():
            leaves[name] = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    return {name: leaf for name, leaf in leaves.items() if leaf.size}


def state_leaves(number: int, state: PyTree) -> dict[str, Any]:
    """Returns the leaves of a cohort's states by name."""
    paths = jax.tree.leaves_with_path(_of_states(state))
    return {name: leaf for name, (_, leaf) in zip(_names(number, paths), paths, strict=True)}


def named_members(trained: Trained) -> dict[str, np.ndarray]:
    """Returns what every member is at the end, but for its state, by name."""
    arrays = {}
    for number, population in enumerate(trained.populations):
        for name in ("id", "score", "died"):
            arrays[f"end{number}/{name}"] = np.asarray(getattr(population, name))
        for name, values in population.hparams.items():
            arrays[f"end{number}/hparams/{name}"] = np.asarray(values)
    return arrays


def states_held(keeps_best: bool, columns: np.ndarray, parents: np.ndarray) -> int:
    """Returns how many of a cohort's leading slots hold a state: those whose members were not
    dropped, or all where best weights are kept.

    Args:
      columns: of its members. parents: [rounds, members].
    """
    return len(columns) if keeps_best else int(np.sum(parents[-1, columns] >= 0))


def without_states(
    number: int, traced: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> Population:
    """Returns a population without its states.

    Args:
      number: of the cohort. traced: names of its hyperparameters. arrays: see `named_members`.
    """
    of = lambda name: jax.device_put(arrays[f"end{number}/{name}"])
    hparams = {name: of(f"hparams/{name}") for name in traced}
    return Population(of("id"), hparams, None, of("score"), of("died"))


def restored_states(
    plan: Plan, number: int, rows: dict | None, left: int, leaves: Mapping[str, np.ndarray]
) -> PyTree:
    """Returns a cohort's states with the structure that the learner gives them.

    Args:
      number: of the cohort. rows: see `Trained.rows`. left: how many states the file has.

    Raises:
      StateMismatchError: the leaves are those of another learner.
    """
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((left, *leaf.shape), leaf.dtype),
        _state_shapes(plan, plan.cohorts[number], rows),
    )
    unused = {name for name in leaves if name.startswith(f"{number}/.state")}
    paths, structure = jax.tree.flatten_with_path(_of_states(shapes))
    names = _names(number, paths)
    restored = [
        _restored(path, shape, leaves.get(name))
        for name, (path, shape) in zip(names, paths, strict=True)
    ]
    unused -= set(names)
    if unused:
        raise StateMismatchError(f"it also has {min(unused)}, which this learner's state has not")
    return jax.tree.unflatten(structure, restored).state


def _restored(path: Any, shape: Any, value: np.ndarray | None) -> Any:
    """One leaf, as it was before it was saved."""
    if value is None and 0 in shape.shape:
        value = np.zeros(shape.shape, shape.dtype)
    if is_key(shape) and value is not None:
        return from_words(value, shape)
    if value is None or (value.shape, value.dtype) != (shape.shape, shape.dtype):
        saved = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
        raise StateMismatchError(
            f"{jax.tree_util.keystr(path)} needs {shape.dtype}{list(shape.shape)}, the file has "
            f"{saved}"
        )
    return jax.device_put(value)


def _state_shapes(plan: Plan, cohort: CohortPlan, rows: dict | None) -> PyTree:
    """Shapes and types of one member's state, with the axis of its folds and seeds."""

    learner = traced_once(plan.learner)
    key = jax.eval_shape(lambda: member_key(np.uint32(0), 0))
    traced = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}
    init = lambda traced, key, batch: learner.init(key, cohort.h(traced), batch)
    try:
        state = jax.eval_shape(init, traced, key, batch_of(rows, cohort.batch_size))
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise StateMismatchError(
            f"it makes no state for the entries {list(rows or ())} ({said})"
        ) from error
    axes = replicate_shape(plan.replicates)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), state)


def batch_of(rows: Mapping[str, Any] | None, size: int | None) -> Any:
    """Returns the shapes of a batch of so many rows; None without data.

    Args:
      rows: see `Trained`.
    """
    if rows is None or size is None:
        return None
    return {
        name: jax.ShapeDtypeStruct((size, *shape), np.dtype(dtype))
        for name, (shape, dtype) in rows.items()
    }


def _of_states(state: PyTree) -> Any:
    """States in the place that gives their leaves the names of a population's."""
    none: Any = None
    return Population(none, none, state, none, none)


def _names(number: int, paths: Sequence[Any]) -> list[str]:
    """The names of leaves; a node of the user's own may give two leaves the same path."""
    names: dict[str, None] = {}
    for path, _ in paths:
        first = name = f"{number}/{jax.tree_util.keystr(path)}"
        while name in names:
            name = f"{first}#{len(names)}"
        names[name] = None
    return list(names)
