"""What an Optax update is given besides gradients, state and weights, where it asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from vtune.learner.contracts import taken
from vtune.types import Array, PyTree

_SOPHIA = (optax.contrib.SophiaState, optax.contrib.HutchinsonState)


def holds(tree: PyTree, kind: type | tuple[type, ...]) -> bool:
    """Whether a node of a tree, such as an optimizer's state, is of one of these types."""
    is_one = lambda node: isinstance(node, kind)
    return any(map(is_one, jax.tree.leaves(tree, is_leaf=is_one)))


def extra_arguments(
    update: Callable[..., Any],
    objective: Callable[..., Any],
    value: Array,
    grads: PyTree,
    opt_state: PyTree,
) -> dict[str, Any]:
    """Returns the keyword arguments of an update that need the loss or its gradient.

    Line searches and Polyak's step take `value`, `grad` and `value_fn`. SAM takes `grad_fn`, which
    a line search would hand on to the loss: it is passed only to updates that name it. Sophia
    takes `obj_fn`, and is known by its state.
    """
    value_fn = lambda params, **_: objective(params)[0]
    grad_fn = lambda params, *_: jax.grad(objective, has_aux=True)(params)[0]
    offered = {"value": value, "grad": grads, "value_fn": value_fn}
    if holds(opt_state, _SOPHIA):
        offered["obj_fn"] = value_fn
    return taken(update, offered, {"grad_fn": grad_fn})
