"""Names the parts of a tree of weights that are adapters."""

from __future__ import annotations

from flax.traverse_util import flatten_dict, unflatten_dict

from vtune.lora.net import ADAPTERS
from vtune.types import PyTree


def labels(params: PyTree) -> PyTree:
    """Returns "a" or "b" in the place of every adapter's factor, "other" of every other weight.

    For optimizers that treat them apart, such as LoRA+ (Hayou, Ghosh and Yu 2024), in which B
    learns faster than A:

        def optimizer(h):
            rates = {"a": optax.adamw(h["lr"]), "b": optax.adamw(h["ratio"] * h["lr"])}
            return optax.partition(rates, vt.lora.labels)

    Where other weights are trained as well, `rates` has an entry "other".

    Args:
      params: what the optimizer trains, of a learner that `vt.lora.adapt` made.
    """
    leaves = flatten_dict(params)
    named = {path: path[-1] if path[0] == ADAPTERS else "other" for path in leaves}
    return unflatten_dict(named)
