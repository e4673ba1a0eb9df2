"""What a user's model, loss and optimizer are given, and what they must return."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from vtune.hparams import UnknownHyperparameterError
from vtune.metrics import expand
from vtune.types import Array, Batch, Outputs, PyTree


@contextlib.contextmanager
def calling(who: str, **given: PyTree) -> Iterator[None]:
    """Notes on an error that comes of a user's function what the function was given: where it is
    an array, its type and shape."""
    try:
        yield
    except UnknownHyperparameterError:  # says it all
        raise
    except Exception as error:
        said = ", ".join(f"{name} {jax.tree.map(_shown, tree)!r}" for name, tree in given.items())
        error.add_note(f"vtune called {who} with {said}")
        raise


class _Bare(str):
    __repr__ = str.__str__


def _shown(leaf: Any) -> Any:
    return _Bare(jax.typeof(leaf)) if hasattr(leaf, "dtype") else leaf


def call_arguments(call: Callable[..., Any], batch: Batch, train: bool) -> tuple[list, dict]:
    """The arguments of a module's `__call__`: data entries by name, and the mode it takes.

    Returns:
      Positional and keyword arguments.

    Raises:
      ValueError: an argument without default is neither an entry of the data nor a mode.
    """
    kinds = inspect.Parameter
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
    modes = {"train": train, "training": train, "deterministic": not train}
    named = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    keywords = {p.name: modes[p.name] for p in named if p.name in modes and p.name not in batch}
    entries = {p.name: batch[p.name] for p in named if p.name in batch}
    positional = []
    if not entries and "x" in batch:  # called something else: the inputs come first
        first = next((p for p in parameters if p.name not in keywords), None)
        if first is not None and first.kind == kinds.VAR_POSITIONAL:
            positional = [batch["x"]]
        elif first is not None and first.kind != kinds.VAR_KEYWORD:
            entries = {first.name: batch["x"]}
    given = {**entries, **keywords}
    missing = [p.name for p in named if p.default is kinds.empty and p.name not in given]
    if missing or not (entries or positional):
        raise ValueError(
            f"the model's __call__ takes {[p.name for p in parameters]}, the data has "
            f"{sorted(batch)}; name the entries of the data like the arguments, or write "
            "apply=lambda model, variables, batch, *, train, rngs, mutable: ..."
        )
    return positional, given


def per_example(result: Any, rows: int) -> tuple[Array, Array]:
    """Values `[batch, ...]` and weights of the same shape, from what the loss returned."""
    values, weights = result if isinstance(result, tuple) else (result, None)
    values = jnp.asarray(values)
    if values.ndim == 0 or values.shape[0] != rows:
        what = "a scalar" if values.ndim == 0 else f"shape {list(values.shape)}"
        raise ValueError(
            f"loss returned {what} for a batch of {rows} rows; return one value per example "
            f"([{rows}], without .mean()), or give a loss of the whole batch as batch_loss="
        )
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))  # sums in bf16 drift
    if weights is None:
        return values, jnp.ones_like(values)
    weights = jnp.asarray(weights, values.dtype)
    if weights.shape not in (values.shape, values.shape[:1]):
        fitting = dict.fromkeys((str(list(values.shape)), f"[{rows}]"))  # one where they are equal
        raise ValueError(
            f"loss returned values {list(values.shape)} with weights {list(weights.shape)}; "
            f"weights are {' or '.join(fitting)}"
        )
    return values, expand(weights, values) if weights.ndim < values.ndim else weights


def check_collections(before: PyTree, after: PyTree) -> None:
    """What is carried from step to step keeps its structure; sown collections grow."""
    for name in {**before, **after}:
        a: Any = jax.tree.structure(before.get(name))
        b: Any = jax.tree.structure(after.get(name))
        if a != b:
            raise TypeError(
                f"the model's collection {name!r} changes its structure in a step, as sown ones "
                "do; sow into 'intermediates', or return the value and use it in loss="
            )


def check_pairs(
    loss: Callable[..., Any], outputs: Outputs, batch: Batch, values: Array, rows: int
) -> None:
    """Refuses values [batch, batch] that come of broadcasting [batch, 1] against [batch].

    A second axis that shrinks with the batch is one of pairs; one that stays is meant.
    """
    if rows < 2 or values.ndim < 2 or values.shape[1] != rows:
        return

    def shorter(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda a: a[:-1] if jnp.ndim(a) and len(a) == rows else a, tree)

    result = jax.eval_shape(lambda: loss(shorter(outputs), shorter(batch)))
    fewer = result[0] if isinstance(result, tuple) else result
    if fewer.shape[1] == rows - 1:
        raise ValueError(
            f"loss returned a value for every pair of rows, {list(values.shape)} for a batch of "
            f"{rows}; most likely outputs [{rows}, 1] met labels [{rows}]: write outputs[:, 0] (or "
            "take .mean(axis=1) where pairs are meant)"
        )


def check_call(who: str, function: Any, arguments: str) -> None:
    """Raises TypeError where a user's function does not take the arguments it will be given."""
    try:
        inspect.signature(function).bind(*arguments.split(", "))
    except TypeError:
        raise TypeError(f"{who} must take the arguments ({arguments})") from None
    except ValueError:  # built-in functions may have no signature
        pass


def taken(
    function: Callable[..., Any], offered: dict[str, Any], asked: dict[str, Any]
) -> dict[str, Any]:
    """The keyword arguments that a function takes: of `offered` all that it can take, of `asked`
    those that it has by name."""
    parameters = inspect.signature(function).parameters
    if not any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        offered = {name: value for name, value in offered.items() if name in parameters}
    return offered | {name: value for name, value in asked.items() if name in parameters}


def check_outputs(outputs: Outputs, rows: int) -> None:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(outputs)]
    wrong = [leaf for leaf in leaves if leaf.ndim and leaf.shape[0] != rows]
    if wrong or not any(leaf.ndim for leaf in leaves):
        shown = list(wrong[0].shape) if wrong else [list(leaf.shape) for leaf in leaves]
        raise ValueError(
            f"the model returned shape {shown} for a batch of {rows} rows; the first axis of its "
            "outputs must be the rows of the batch"
        )
