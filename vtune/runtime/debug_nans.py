"""`jax_debug_nans`: a sweep with a NaN raises, as other programs of JAX do under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vtune.types import PyTree


def call_checked(call: Callable[..., PyTree], *arguments: Any, wait: bool = True) -> PyTree:
    """Calls a compiled program, waits for it, and looks for NaN where `jax_debug_nans` is on.

    JAX looks at what a program compiled ahead of time returns in its first call only.

    Args:
      wait: False returns at once and looks for nothing, where another call will.

    Raises:
      FloatingPointError: `jax_debug_nans` is on, and there is one.
    """
    try:
        result = call(*arguments)
        if not wait:
            return result
        jax.block_until_ready(result)
    except Exception as error:
        if "FloatingPointError" not in type(error).__name__:  # JAX's own has no public name
            raise
        raise FloatingPointError(_found("the state or the history")) from error
    if getattr(jax.config, "jax_debug_nans"):  # noqa: B009 (unknown to the types)
        for path, leaf in jax.tree.leaves_with_path(result):
            if (
                jax.numpy.issubdtype(leaf.dtype, np.inexact)
                and np.isnan(jax.device_get(leaf)).any()
            ):
                raise FloatingPointError(_found(f"carry{jax.tree_util.keystr(path)}"))
    return result


def _found(where: str) -> str:
    return (
        f"a member's numbers became NaN (or infinite), first seen in {where}, and jax_debug_nans "
        "or jax_debug_infs is on; without it the sweep runs on, and the member's status tells the "
        "step that it diverged at. To find the line, call learner.step yourself"
    )
