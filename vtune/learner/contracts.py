"""The arguments that a user's functions accept, and checks of what they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vtune.learner.check_loss import differentiable
from vtune.learner.mode import is_mode, mode_value
from vtune.metrics import expand
from vtune.returned import real
from vtune.types import Array, Batch, Outputs, PyTree, at_least_single

LINEN_APPLY = "apply=lambda model, variables, batch, *, train, rngs, mutable: ..."


def call_arguments(
    call: Callable[..., Any],
    batch: Batch,
    train: bool,
    *,
    rngs: Any = None,
    apply: str = LINEN_APPLY,
) -> tuple[list, dict]:
    """Returns (positional, keyword) arguments for a module's `__call__`.

    Entries of the data are passed by name; if no name matches, `x` is passed first. The mode is
    passed under whichever of the names in `mode.py` the module takes.

    Args:
      rngs: passed as `rngs`, unless it is None. apply: what to write in the place of `__call__`.

    Raises:
      ValueError: an argument without default is neither an entry of the data nor a mode.
    """
    kinds = inspect.Parameter
    parameters = list(inspect.signature(call).parameters.values())
    named = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    modes = [p.name for p in named if is_mode(p) and p.name not in batch]
    keywords = {name: mode_value(name, train) for name in modes}
    if rngs is not None and any(p.name == "rngs" for p in named):
        keywords["rngs"] = rngs
    entries = {p.name: batch[p.name] for p in named if p.name in batch}
    positional = []
    if not entries and "x" in batch:  # the module has another name for its inputs
        first = next((p for p in parameters if p.name not in keywords), None)
        if first is not None and first.kind == kinds.VAR_POSITIONAL:
            positional = [batch["x"]]
        elif first is not None and first.kind != kinds.VAR_KEYWORD:
            entries = {first.name: batch["x"]}
    keywords = {**entries, **keywords}
    missing = [p.name for p in named if p.default is kinds.empty and p.name not in keywords]
    if missing or not (entries or positional):
        raise ValueError(
            f"the model's __call__ takes {[p.name for p in parameters]}, the data has "
            f"{sorted(batch)}; give the data's entries the names of the arguments, or write {apply}"
        )
    return positional, keywords


_LOSS = "one value per example, or (values, weights)"


def per_example(result: Any, rows: int) -> tuple[Array, Array, bool]:
    """Returns the values [batch, ...] that the loss returned, weights of the same shape, and
    whether the loss gave them.

    Raises:
      ReturnedError: something else came. ValueError: the values are not one per row, or the
        weights do not fit them.
    """
    pair = isinstance(result, tuple) and len(result) == 2
    values, weights = result if pair else (result, None)
    values = differentiable("loss", values, _LOSS)
    if values.ndim == 0 or values.shape[0] != rows or not values.size:
        what = "a scalar" if values.ndim == 0 else f"shape {list(values.shape)}"
        raise ValueError(
            f"loss returned {what} for a batch of {rows} rows; return one value per example "
            f"([{rows}], without .mean()), or give a loss of the whole batch as batch_loss="
        )
    values = at_least_single(values)  # sums in bfloat16 drift
    if weights is None:
        return values, jnp.ones_like(values), pair
    weights = real("loss", weights, f"{_LOSS}, real numbers").astype(values.dtype)
    if weights.shape not in (values.shape, values.shape[:1]):
        allowed = dict.fromkeys((str(list(values.shape)), f"[{rows}]"))  # the two may be equal
        raise ValueError(
            f"loss returned values {list(values.shape)} with weights {list(weights.shape)}; "
            f"return weights of shape {' or '.join(allowed)}"
        )
    return values, expand(weights, values) if weights.ndim < values.ndim else weights, pair


def check_collections(before: PyTree, after: PyTree) -> None:
    """Raises TypeError if a step changes the structure of a collection, as sown ones do."""
    for name in {**before, **after}:
        a: Any = jax.tree.structure(before.get(name))
        b: Any = jax.tree.structure(after.get(name))
        if a != b:
            raise TypeError(
                f"the model's collection {name!r} changes its structure in a step, as sown values "
                f"do. For a part of the loss, write sown=[{name!r}], and the outputs that loss= "
                f"and metrics see are (outputs, {{{name!r}: ...}}); or return the value with the "
                "outputs. What nothing reads may be sown into 'intermediates', which is dropped"
            )


def taken(
    function: Callable[..., Any], offered: dict[str, Any], asked: dict[str, Any]
) -> dict[str, Any]:
    """Returns the keyword arguments to call a function with.

    Args:
      offered: passed if the function takes them, by name or through `**kwargs`.
      asked: passed only if the function takes them by name.
    """
    parameters = inspect.signature(function).parameters
    if not any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        offered = {name: value for name, value in offered.items() if name in parameters}
    return offered | {name: value for name, value in asked.items() if name in parameters}


def check_outputs(outputs: Outputs, rows: int) -> None:
    """Raises ValueError if the leading axis of a model's outputs is not the rows of the batch."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(outputs)]
    wrong = [leaf for leaf in leaves if leaf.ndim and leaf.shape[0] != rows]
    if wrong or not any(leaf.ndim for leaf in leaves):
        shown = list((wrong or leaves)[0].shape) if leaves else "nothing"
        raise ValueError(
            f"the model returned shape {shown} for a batch of {rows} rows; the first axis of its "
            "outputs must be the rows of the batch: bring the rows to the front in apply=, or give "
            "batch_loss= in the place of loss=, which takes whatever comes out"
        )
