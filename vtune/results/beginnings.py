"""The weights that members began with."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from vtune.engine.plan import as_arrays
from vtune.learner.frozen import sharing
from vtune.learner.pretrained import plain
from vtune.results.trained import Trained
from vtune.types import PyTree


def weights_of(trained: Trained, column: int) -> PyTree:
    """Returns a member's weights, as other members can begin with."""
    states, slot = trained.state_of(column)
    state = jax.tree.map(lambda leaf: leaf[slot], states)
    variables = sharing(trained.plan.learner, trained.weights).variables
    return as_arrays(jax.tree.map(np.asarray, plain(variables(state) if variables else state)))


def begun_with(caller: str, trained: Trained, columns: Sequence[int]) -> PyTree:
    """Returns the weights that members were trained from; None where theirs were drawn.

    Args:
      caller: the function that messages name.

    Raises:
      ValueError: they began with different ones, which one program cannot.
    """
    size, began_from = trained.drawn.generation_size, trained.drawn.began_from
    if size is None:
        return trained.weights
    first = trained.first_id // size
    sources = {began_from[(trained.first_id + column) // size - first] for column in columns}
    if len(sources) > 1:
        raise ValueError(
            f"{caller}: these members began with the weights of different ones (warm_start=True), "
            "so they cannot be trained together; take one at a time"
        )
    (source,) = sources
    return trained.weights if source < 0 else weights_of(trained, source)
