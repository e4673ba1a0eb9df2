"""Populations as named arrays and back: every leaf under the path that leads to it.

The names are those of `Population`'s fields, so renaming a field would break saved sweeps.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.population import Population
from vtune.engine.replicates import replicate_shape
from vtune.results.trained import Trained
from vtune.rng.keys import from_words, is_key, member_key
from vtune.types import PyTree


class StateMismatchError(ValueError):
    """The leaves in a file are those of another learner's states."""


def named_leaves(trained: Trained) -> dict[str, np.ndarray]:
    """Returns every leaf of every population by name, on the host.

    States of dropped members are left out, and so are empty leaves, which Orbax refuses.
    """
    leaves = {}
    for number, population in enumerate(trained.populations):
        left = members_left(np.asarray(population.id), trained.records.parents)
        state = jax.tree.map(lambda leaf, left=left: leaf[:left], population.state)
        for path, leaf in jax.tree.leaves_with_path(population._replace(state=state)):
            words = jax.random.key_data(leaf) if is_key(leaf) else leaf
            leaves[_name(number, path)] = np.asarray(words)
    return {name: leaf for name, leaf in leaves.items() if leaf.size}


def members_left(ids: np.ndarray, parents: np.ndarray) -> int:
    """Returns how many of a cohort's members were not dropped."""
    return int(np.sum(parents[-1, ids] >= 0))


def restore_population(
    plan: Plan, number: int, rows: dict | None, left: int, leaves: dict[str, np.ndarray]
) -> Population:
    """Returns a population with the structure that the learner gives it, filled with named leaves.

    Args:
      number: of the cohort. rows: see `Trained.rows`. left: how many states the file has.

    Raises:
      StateMismatchError: the leaves are those of another learner.
    """
    cohort = plan.cohorts[number]
    vector: Any = lambda dtype: jax.ShapeDtypeStruct((cohort.size,), dtype)
    shapes = Population(
        id=vector(np.int32),
        hparams={name: vector(dtype) for name, dtype in cohort.traced},
        state=jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((left, *leaf.shape), leaf.dtype),
            _state_shapes(plan, cohort, rows),
        ),
        score=vector(np.float32),
        died=vector(np.int32),
    )
    unused = {name for name in leaves if name.startswith(f"{number}/")}
    restored = []
    paths, structure = jax.tree.flatten_with_path(shapes)
    for path, shape in paths:
        name = _name(number, path)
        unused.discard(name)
        restored.append(_restored(path, shape, leaves.get(name)))
    if unused:
        raise StateMismatchError(f"it also has {min(unused)}, which this learner's state has not")
    return jax.tree.unflatten(structure, restored)


def _restored(path: Any, shape: Any, value: np.ndarray | None) -> Any:
    """One leaf, as it was before it was saved."""
    if value is None and 0 in shape.shape:
        value = np.zeros(shape.shape, shape.dtype)
    if value is None or (not is_key(shape) and value.shape != shape.shape):
        saved = "nothing" if value is None else f"shape {list(value.shape)}"
        raise StateMismatchError(
            f"{jax.tree_util.keystr(path)} needs shape {list(shape.shape)}, the file has {saved}"
        )
    return from_words(value, shape) if is_key(shape) else jax.device_put(value)


def _state_shapes(plan: Plan, cohort: CohortPlan, rows: dict | None) -> PyTree:
    """Shapes and types of one member's state, with the axis of its folds and seeds."""

    def init(traced: dict[str, Any]) -> PyTree:
        batch = None
        if rows is not None and cohort.batch_size is not None:
            batch = {
                name: jax.numpy.zeros((cohort.batch_size, *shape), dtype)
                for name, (shape, dtype) in rows.items()
            }
        return plan.learner.init(member_key(np.uint32(0), 0), cohort.h(traced), batch)

    traced = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}
    state = jax.eval_shape(init, traced)
    axes = replicate_shape(plan.replicates)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), state)


def _name(number: int, path: Any) -> str:
    return f"{number}/{jax.tree_util.keystr(path)}"
