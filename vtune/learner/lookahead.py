"""The pairs of weights of `optax.lookahead`: fast ones are trained, slow ones judged."""

from __future__ import annotations

import logging
from typing import Any

import optax

from vtune.learner.optimizer_arguments import holds
from vtune.types import PyTree


def first_pair(optimizer: Any, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns (weights, optimizer state), the weights as a pair where the optimizer asks for it."""
    logger = logging.getLogger("absl")  # lookahead logs that it was given no pair
    before, logger.disabled = logger.disabled, True
    try:
        opt_state = optimizer.init(params)
    finally:
        logger.disabled = before
    if not holds(opt_state, optax.LookaheadState):
        return params, opt_state
    pair = optax.LookaheadParams.init_synced(params)
    return pair, optimizer.init(pair)


def fast(params: PyTree) -> PyTree:
    """Returns the weights that gradients are taken by."""
    return params.fast if isinstance(params, optax.LookaheadParams) else params


def slow(params: PyTree) -> PyTree:
    """Returns the weights that are judged and shown."""
    return params.slow if isinstance(params, optax.LookaheadParams) else params
