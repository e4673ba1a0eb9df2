"""Makes a linen module's first variables through a user's own call of `model.apply`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from vtune.types import PyTree


def initialising(module: nn.Module) -> nn.Module:
    """Returns the module with an `apply` that makes its variables where it is given none.

    `model.apply({}, mutable=True)` makes variables, too, but `is_initializing()` is false in it:
    `nn.WeightNorm` and `nn.SpectralNorm` fail, and averages of `nn.BatchNorm` already move.
    """
    kind = type(module)
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    made: Any = type(kind.__name__, (kind,), names)
    made.apply = _apply  # set afterwards: Flax wraps the methods that a class is made with
    copy = module.clone()
    object.__setattr__(copy, "__class__", made)
    return copy


def _apply(
    self: nn.Module,
    variables: Mapping[str, PyTree],
    *inputs: Any,
    rngs: Any = None,
    mutable: Any = False,
    **options: Any,
) -> Any:
    if jax.tree.leaves(variables):
        return nn.Module.apply(self, variables, *inputs, rngs=rngs, mutable=mutable, **options)
    outputs, made = self.init_with_output(rngs or {}, *inputs, mutable=True, **options)
    return outputs if mutable is False else (outputs, made)
