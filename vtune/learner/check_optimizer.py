"""Makes a member's optimizer of the user's function, and checks what its update returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict

from vtune.hparams import Hparams
from vtune.learner.calling import calling
from vtune.learner.frozen import joined
from vtune.returned import ReturnedError, check_arrays, described
from vtune.types import PyTree

_DEPTH = 12  # of functions in functions; an Optax chain has about 6


def made(optimizer: Callable[[Hparams], Any], h: Hparams) -> optax.GradientTransformationExtraArgs:
    """Returns a member's Optax transformation, whose update takes extra arguments.

    Raises:
      ReturnedError: `optimizer` returned something else.
    """
    with calling("optimizer", h=h):
        transformation = optimizer(h)
    if isinstance(transformation, optax.MultiSteps):
        transformation = transformation.gradient_transformation()
    if not isinstance(transformation, optax.GradientTransformation):
        several = isinstance(transformation, list | tuple)
        write = "optax.chain(*several)" if several else 'optax.adam(h["lr"])'
        raise ReturnedError(
            f"optimizer returned {described(transformation)}, not an optax.GradientTransformation; "
            f"write optimizer=lambda h: {write}"
        )
    return optax.with_extra_args_support(transformation)


def updating(update: Callable[..., Any], h: Hparams) -> Callable[..., Any]:
    """Returns an optimizer's update that checks what it returns; an error in it is noted.

    Raises:
      ReturnedError: something else than updates and a state like those given was returned.
    """

    def checked(grads: PyTree, state: PyTree, params: PyTree, **extra: Any) -> Any:
        with calling("the optimizer's update", h=h, params=params):
            try:
                returned = update(grads, state, params, **extra)
            except (TypeError, ValueError) as error:
                _note_text(error, update)
                raise
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise ReturnedError(
                f"the optimizer's update returned {described(returned)}; return (updates, state)"
            )
        check_arrays("the optimizer's update", returned[0], "(updates, state)")
        return returned

    return checked


def check_updates(updates: PyTree, params: PyTree) -> None:
    """Raises ReturnedError unless updates fit the weights: one number for every weight."""
    given: Any = jax.tree.structure(updates)
    if given != jax.tree.structure(params):
        raise ReturnedError(
            f"the optimizer's update returned updates of the structure {given}; return one for "
            "every array of weights"
        )
    pairs = zip(jax.tree.leaves_with_path(updates), jax.tree.leaves(params), strict=True)
    for (path, update), weights in pairs:
        same_kind = jnp.iscomplexobj(weights) or not jnp.iscomplexobj(update)
        if jnp.shape(update) != weights.shape or not same_kind:
            raise ReturnedError(
                f"the optimizer's update returned {described(jnp.asarray(update))} for the weights "
                f"{jax.tree_util.keystr(path)}, {described(weights)}; learning rates and the "
                "like are real numbers, and an update has the shape of its weights"
            )


def _note_text(error: Exception, update: Callable[..., Any]) -> None:
    """Notes on an error that the optimizer was made of a text, where that looks like a number."""
    text = next(_texts(update, set(), 0), None)
    if text is not None:
        error.add_note(
            f"the optimizer was made with the text {text!r} in the place of a number; write "
            "optax.sgd(0.1) and not optax.sgd('0.1'), and float(...) around numbers that were read"
        )


def _texts(function: Any, seen: set[int], depth: int) -> Iterator[str]:
    """Yields texts that stand for numbers, of those that a function closes over. Optax makes '' of
    one where it negates it."""
    if isinstance(function, str):
        if not function or _is_number(function):
            yield function
        return
    if id(function) in seen or depth > _DEPTH:
        return
    seen.add(id(function))
    if isinstance(function, tuple | list):
        held = list(function)
    else:
        cells = getattr(function, "__closure__", None) or ()
        held = [cell.cell_contents for cell in cells if cell != type(cell)()]
        held += [getattr(function, name, None) for name in ("func", "args", "__self__")]
        held += (getattr(function, "keywords", None) or {}).values()
    for item in held:
        yield from _texts(item, seen, depth + 1)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_sees_all(optimizer: Any, trained: PyTree, frozen: PyTree, error: Exception) -> None:
    """Raises ValueError where an optimizer fails on the trained weights alone, and would not on
    all: its mask, or its labels, name frozen ones.

    Args:
      error: what it failed with.
    """
    try:
        jax.eval_shape(optimizer.init, joined(trained, frozen))
    except Exception:
        return  # it fails on all weights, too: its own error says why
    names = ", ".join(sorted("/".join(map(str, path)) for path in flatten_dict(trained))[:8])
    raise ValueError(
        f"the optimizer's mask or labels name frozen weights, which it does not see; it is given "
        f"{names}: make the mask of the weights that it is given, by a function such as "
        "lambda params: jax.tree.map(...)"
    ) from error
