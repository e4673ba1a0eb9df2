"""Hyperparameters that a member's state holds: their current values count in every step.

`optax.inject_hyperparams` keeps the numbers that it was made with in its state, and so does a model
variable made of `h`. Refiners and schedules change hyperparameters between rounds. So, before every
step,

    what `init` makes of hyperparameters alone and no step changes  is made anew of the current ones
    everything else                                                 stays as it is carried
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vtune.hparams import Hparams
from vtune.types import Batch, Key, State, is_traced
from vtune.xla.sources import Source, sources


class Held(NamedTuple):
    """Hyperparameters of which a state holds what cannot be made anew, each with a leaf's path.

    Attributes:
      frozen: a leaf was drawn with them, and no step changes it.
      copied: read by `init` alone; the leaf goes on by itself, as a rate that each step lowers.
      starting: read by `init` alone; the leaf is trained, as weights are.
    """

    frozen: dict[str, str]
    copied: dict[str, str]
    starting: dict[str, str]


class _Traces(NamedTuple):
    """Where the leaves of a state come from.

    Attributes:
      names: of the traced hyperparameters; they are inputs 1, 2, ... of `init` and `step`.
      made: sources of the leaves in `init`, whose inputs are the key, h, the batch.
      stepped: sources of the outputs of `step`, whose inputs are the key, h, the state, the batch.
    """

    names: tuple[str, ...]
    made: list[Source]
    stepped: list[Source]

    def read_by_init(self, leaf: int) -> set[str]:
        """The hyperparameters that `init` makes a leaf of."""
        return {name for i, name in enumerate(self.names, 1) if i in self.made[leaf].inputs}

    def of_data(self, leaf: int) -> bool:
        """Whether `init` makes a leaf of random numbers or rows."""
        return any(i == 0 or i > len(self.names) for i in self.made[leaf].inputs)

    def trained(self, leaf: int) -> bool:
        """Whether `step` makes a leaf of random numbers or rows."""
        last = len(self.names) + len(self.made)
        return any(i == 0 or i > last for i in self.stepped[leaf].inputs)

    def unchanged(self, leaf: int) -> bool:
        """Whether `step` returns a leaf as it was."""
        return self.stepped[leaf].same == 1 + len(self.names) + leaf

    def renewed(self, leaf: int) -> bool:
        """Whether a leaf is made anew before every step."""
        return bool(self.read_by_init(leaf)) and not self.of_data(leaf) and self.unchanged(leaf)

    def read_in_training(self) -> set[str]:
        """The hyperparameters that count in every step."""
        inputs = frozenset().union(*(source.inputs for source in self.stepped))
        return {name for i, name in enumerate(self.names, 1) if i in inputs}


def with_current(init: Callable[..., State], step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the step before which a state follows the current hyperparameters."""

    def current_step(key: Key, h: Hparams, state: State, batch: Batch) -> Any:
        traces = _traces(init, step, key, h, state, batch)
        numbers = [i for i in range(len(traces.made)) if traces.renewed(i)] if traces else []
        if numbers:
            fresh = jax.tree.leaves(init(key, h, batch))
            leaves, structure = jax.tree.flatten(state)
            for i in numbers:
                leaves[i] = jnp.asarray(fresh[i], jnp.asarray(leaves[i]).dtype)
            state = jax.tree.unflatten(structure, leaves)
        return step(key, h, state, batch)

    return current_step


def held(
    init: Callable[..., State],
    step: Callable[..., Any],
    measure: Callable[[Hparams, State], Any],
    key: Key,
    h: Hparams,
    state: State,
    batch: Batch,
) -> Held:
    """Returns what a state holds of the hyperparameters, from the traces of one member.

    Args:
      step: as `with_current` returns it. To it a leaf that is made anew is one that it changes.
    """
    found = Held({}, {}, {})
    traces = _traces(init, step, key, h, state, batch)
    if traces is None:
        return found
    scored = sources(jax.make_jaxpr(measure)(h, state))
    scoring = frozenset().union(*(source.inputs for source in scored))
    current = traces.read_in_training()
    current |= {name for i, name in enumerate(traces.names) if i in scoring}
    for leaf, (path, _) in enumerate(jax.tree.leaves_with_path(state)):
        for name in traces.read_by_init(leaf):
            where = f"state{jax.tree_util.keystr(path)}"
            if traces.unchanged(leaf):
                found.frozen.setdefault(name, where)
            elif name not in current:
                kind = found.starting if traces.trained(leaf) else found.copied
                kind.setdefault(name, where)
    return found


def _traces(
    init: Callable[..., State],
    step: Callable[..., Any],
    key: Key,
    h: Hparams,
    state: State,
    batch: Batch,
) -> _Traces | None:
    """Returns where the leaves come from; None where `init` makes none of a hyperparameter."""
    names = h.form[0]
    if not names or not is_traced(h):
        return None
    made = sources(jax.make_jaxpr(init)(key, h, batch))
    if not any(1 <= i <= len(names) for source in made for i in source.inputs):
        return None
    return _Traces(names, made, sources(jax.make_jaxpr(step)(key, h, state, batch)))
