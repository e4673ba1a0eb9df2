"""Branches and loops that hold traced functions, rebuilt through JAX's public functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import lax

Walk = Callable[[Any, Sequence[Any]], list[Any]]  # (traced function, arguments) -> outputs


def cond(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    """Runs `lax.cond` or `lax.switch` with every branch walked."""
    branches = [
        lambda *args, branch=branch: tuple(walk(branch, args)) for branch in params["branches"]
    ]
    return lax.switch(ins[0], branches, *ins[1:])


def while_loop(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    """Runs `lax.while_loop` with its condition and its body walked."""
    first = params["cond_nconsts"]
    last = first + params["body_nconsts"]
    cond_consts, body_consts, start = ins[:first], ins[first:last], ins[last:]
    return lax.while_loop(
        lambda carry: walk(params["cond_jaxpr"], [*cond_consts, *carry])[0],
        lambda carry: walk(params["body_jaxpr"], [*body_consts, *carry]),
        start,
    )
