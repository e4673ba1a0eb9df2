"""Replaces what is slow under vmap or inside a loop: convolution, pooling, drawing numbers; and
an optimizer's divisions.

    trace f to its equations (a jaxpr)
    for each equation:  a convolution -> slices and matrix products (convolution.py, which chooses
                                         shift_add.py or winograd.py)
                        a pooling -> slices and comparisons (pooling.py)
                        a draw of threefry's -> the same bits by straight code (threefry.py)
                        an optimizer's division by one number -> a multiplication (division.py)
                        a loop, branch or remat that holds one -> rebuilt around its new body
                        anything else -> as it was

Differentiation comes after it, so gradients are those of the replacements, and as fast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from vtune.rng import threefry
from vtune.types import PyTree
from vtune.xla.jaxpr import bind, evaluate, inner, opened
from vtune.xla.ops import convolution, division, pooling

FORMS = ("auto", "none", "patches", "winograd")

_PATCHES: dict[str, Callable[..., Any]] = {
    "conv_general_dilated": convolution.convolve,
    "reduce_window_max": functools.partial(pooling.pool, "max"),
    "reduce_window_min": functools.partial(pooling.pool, "min"),
    "reduce_window_sum": functools.partial(pooling.pool, "sum"),
    "select_and_scatter_add": pooling.pool_gradient,
}
_KNOWN = {
    "patches": _PATCHES,
    "winograd": _PATCHES
    | {"conv_general_dilated": functools.partial(convolution.convolve, fewer=True)},
}
_UPDATE = {form: {"div": division.divide} for form in _KNOWN}
_Known = Mapping[str, Callable[..., Any]]  # by primitive
_Walk = Callable[[Any, Sequence[Any]], list[Any]]  # of a traced function and its arguments


def rewrite(f: Callable[..., PyTree], form: str = "auto") -> Callable[..., PyTree]:
    """The same function, with convolutions and poolings in a form that is fast in a population.

    Random numbers are the same too, drawn by code that takes less time to compile and to run.

    `vt.flax_learner` and `vt.nnx_learner` do this by themselves; whoever writes a `Learner` by hand
    wraps the loss before differentiating it: `jax.value_and_grad(vt.rewrite(loss))`.

    Values and gradients are those of `f` but for rounding. Functions with custom derivatives
    (`jax.custom_vjp`, `jax.custom_jvp`) stay as they are, and so does every form that is not known:
    other numbers than real ones, windows of more than 128 places that do not lie side by side.

    Args:
      f: a function of arrays, or of pytrees that hold them; other leaves stay what they are.
      form: "patches" replaces; "winograd" does too, and convolutions of 3 x 3 windows over 32
        channels and more, one step at a time, take 2.25 times fewer products (Winograd, 1980; Lavin
        and Gray, 2016); "none" returns what `f` returns; "auto" is "winograd" on CPU and "none"
        elsewhere.

    Returns:
      A function with the arguments and results of `f`.

    Raises:
      ValueError: for another `form`.

    Example:
      >>> import jax, jax.numpy as jnp, vtune as vt
      >>> image, kernel = jnp.ones((1, 8, 8)), jnp.ones((1, 3, 3))
      >>> blur = lambda image: jax.lax.conv(image[None], kernel[None], (1, 1), "SAME")
      >>> jax.jit(vt.rewrite(blur))(image).shape
      (1, 1, 8, 8)
    """
    check_form(form)
    return _replacing(_KNOWN, f, form)


def rewrite_once(f: Callable[..., PyTree], form: str = "auto") -> Callable[..., PyTree]:
    """`rewrite` for what is computed once a round, without gradients, such as scores: "auto" is
    "patches" on CPU, since Winograd's form takes longer to compile than it saves there."""
    return rewrite(f, _platforms(form, "patches"))


def rewrite_update(f: Callable[..., PyTree], form: str = "auto") -> Callable[..., PyTree]:
    """An optimizer's update, with its divisions by one number as multiplications, where `rewrite`
    would replace anything. Its values are those of `f` but for rounding."""
    return _replacing(_UPDATE, f, form)


def _platforms(form: str, cpu: str) -> str:
    """What is meant by "auto"."""
    if form != "auto":
        return form
    return cpu if jax.default_backend() == "cpu" else "none"


def check_form(form: Any) -> None:
    """Raises ValueError for what is no form."""
    if form not in FORMS:
        raise ValueError(f"rewrite={form!r} is none of {', '.join(map(repr, FORMS))}")


def _replacing(
    by_form: Mapping[str, _Known], f: Callable[..., PyTree], form: str
) -> Callable[..., PyTree]:
    @functools.wraps(f)
    def rewritten(*args: Any, **kwargs: Any) -> PyTree:
        chosen = _platforms(form, "winograd")
        if chosen == "none":
            return f(*args, **kwargs)
        return _rewritten(by_form[chosen], f, args, kwargs)

    return rewritten


def _rewritten(
    known: _Known, f: Callable[..., PyTree], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> PyTree:
    """What `f` returns, with what is known replaced."""
    leaves, structure = jax.tree.flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))]

    def of_arrays(arrays: Sequence[Any]) -> PyTree:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        args, kwargs = jax.tree.unflatten(structure, filled)
        return f(*args, **kwargs)

    arrays = [leaves[i] for i in places]
    traced, shapes = jax.make_jaxpr(of_arrays, return_shape=True)(arrays)
    return jax.tree.unflatten(jax.tree.structure(shapes), _walk(known, traced, arrays))


def _walk(known: _Known, closed: Any, args: Sequence[Any]) -> list[Any]:
    """Runs a traced function's equations one by one, the replacements in place; those that nothing
    comes of are left out, such as the model's own work where its weights are made."""
    return evaluate(closed, args, functools.partial(_equation, known))


def _equation(known: _Known, equation: Any, ins: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in known:
        out = known[name](*ins, params)
        if out is not None:
            return [out]
    elif name in _REBUILT and any(_holds(known, body) for body in inner(params)):
        return _REBUILT[name](functools.partial(_walk, known), ins, params)
    drawn = threefry.straight(name, ins, params)
    return bind(equation, ins) if drawn is None else drawn


def _jit(walk: _Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    return walk(params["jaxpr"], ins)  # one program holds it all anyway


def _remat(walk: _Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    body = jax.checkpoint(
        lambda *args: walk(params["jaxpr"], args),
        prevent_cse=params["prevent_cse"],
        policy=params["policy"],
    )
    return body(*ins)


def _scan(walk: _Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    if "num_consts" in params:
        consts, carried = params["num_consts"], params["num_carry"]
    else:  # since jax 0.11
        consts, carried, _ = map(len, params["ft_in"].unpack())
    own, start, xs = ins[:consts], ins[consts : consts + carried], ins[consts + carried :]

    def body(carry: list[Any], x: list[Any]) -> Any:
        outs = walk(params["jaxpr"], [*own, *carry, *x])
        return outs[:carried], outs[carried:]

    end, ys = lax.scan(
        body,
        start,
        xs,
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return [*end, *ys]


def _cond(walk: _Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    branches = [
        lambda *args, branch=branch: tuple(walk(branch, args)) for branch in params["branches"]
    ]
    return lax.switch(ins[0], branches, *ins[1:])


def _while(walk: _Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    a = params["cond_nconsts"]
    b = a + params["body_nconsts"]
    return lax.while_loop(
        lambda carry: walk(params["cond_jaxpr"], [*ins[:a], *carry])[0],
        lambda carry: walk(params["body_jaxpr"], [*ins[a:b], *carry]),
        ins[b:],
    )


_REBUILT: dict[str, Callable[..., Sequence[Any]]] = {
    "jit": _jit,
    "remat2": _remat,
    "checkpoint": _remat,
    "scan": _scan,
    "cond": _cond,
    "while": _while,
}


def _holds(known: _Known, closed: Any) -> bool:
    """Whether a body holds anything that may be replaced, at any depth that is walked."""
    return any(
        (name := equation.primitive.name) in known
        or name in threefry.DRAWS
        or (name in _REBUILT and any(_holds(known, body) for body in inner(equation.params)))
        for equation in opened(closed)[0].eqns
    )
