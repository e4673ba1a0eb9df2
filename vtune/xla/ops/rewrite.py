"""Rewrites a function: operations that are slow under vmap or inside a loop are replaced.

    trace f to its equations (a jaxpr)
    for each equation:  a convolution -> slices and matrix products (convolution.py, which chooses
                                         shift_add.py or winograd.py)
                        a pooling -> slices and comparisons (pooling.py)
                        a threefry draw -> the same bits by unrolled code (rng/threefry.py)
                        an optimizer's division by a scalar -> a multiplication (division.py)
                        one number of each row -> comparisons (indexing.py)
                        a loop, branch or remat that holds one -> rebuilt around its new body
                        anything else -> unchanged

Differentiation comes afterwards, so gradients are those of the replacements, and as fast.
What replaces operations of a step that is differentiated already, for several members at once, is
in `groups.py`, `strides.py` and `sums.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from vtune import target
from vtune.rng import threefry
from vtune.types import PyTree
from vtune.xla import branches
from vtune.xla.branches import Walk
from vtune.xla.jaxpr import bind, evaluate, opened, scan_counts, subjaxprs
from vtune.xla.ops import convolution, division, groups, indexing, pooling, sums

FORMS = ("auto", "none", "patches", "winograd")

_POOLING: dict[str, Callable[..., Any]] = {
    "reduce_window_max": functools.partial(pooling.pool, "max"),
    "reduce_window_min": functools.partial(pooling.pool, "min"),
    "reduce_window_sum": functools.partial(pooling.pool, "sum"),
    "select_and_scatter_add": pooling.pool_gradient,
}
_PATCHES = _POOLING | {"conv_general_dilated": convolution.convolve}
_BY_FORM = {
    "none": {},
    "patches": _PATCHES,
    "winograd": _PATCHES
    | {"conv_general_dilated": functools.partial(convolution.convolve, fewer_products=True)},
}
# By docs/benchmarks/chips: what moves fewer bytes there. A TPU pads split windows.
_ON_CHIPS = {"gpu": _POOLING | {"gather": indexing.pick}, "tpu": {"gather": indexing.pick}}
_UPDATE = {"div": division.divide}
_SEVERAL = {"gpu": {"conv_general_dilated": groups.convolve}}
_Rules = Mapping[str, Callable[..., Any]]  # primitive -> its replacement


def rewrite(f: Callable[..., PyTree], form: str = "auto") -> Callable[..., PyTree]:
    """Returns the same function with convolutions and poolings that are fast in a population.

    Values and gradients equal those of `f` up to rounding. Random numbers have the same bits; the
    code that draws them compiles and runs faster.

    `vt.flax_learner` and `vt.nnx_learner` call this themselves. If you write a `Learner` by hand,
    wrap the loss before you differentiate it: `jax.value_and_grad(vt.rewrite(loss))`.

    These stay unchanged: functions with custom derivatives (`jax.custom_vjp`, `jax.custom_jvp`),
    numbers that are not real, and windows of more than 128 places that are not adjacent.

    Args:
      f: a function of arrays, or of pytrees that hold arrays; other leaves are passed on.
      form: which replacements. "patches" replaces convolutions by products of patches (im2col) and
        poolings by comparisons. "winograd" also takes 2.25 times fewer products in convolutions of
        3 x 3 windows with stride 1 and at least 32 channels (Winograd 1980; Lavin and Gray 2016).
        "none" replaces nothing. "auto" is "winograd" on CPU; on a GPU it replaces poolings, and
        on a GPU or TPU the gather that a loss picks the output of the true label with.

    Returns:
      A function with the arguments and results of `f`.

    Raises:
      ValueError: `form` is none of these.

    Examples:
      >>> import jax, jax.numpy as jnp, vtune as vt
      >>> image, kernel = jnp.ones((1, 8, 8)), jnp.ones((1, 3, 3))
      >>> blur = lambda image: jax.lax.conv(image[None], kernel[None], (1, 1), "SAME")
      >>> jax.jit(vt.rewrite(blur))(image).shape
      (1, 1, 8, 8)
    """
    check_form(form)
    return _replacing(lambda: _model_rules(form), f)


def rewrite_once(f: Callable[..., PyTree], form: str = "auto") -> Callable[..., PyTree]:
    """Returns `f` rewritten for what runs once a round without gradients, such as scores.

    Here "auto" is "patches" on CPU: Winograd's form takes longer to compile than it saves.
    """
    check_form(form)
    return _replacing(lambda: _model_rules(form, cpu="patches"), f)


def rewrite_update(f: Callable[..., PyTree], form: str = "auto") -> Callable[..., PyTree]:
    """Returns an optimizer's update with divisions by a scalar replaced by multiplications.

    Nothing changes where `form` is "none", or "auto" elsewhere than on CPU. Values are equal up to
    rounding.
    """
    slow = lambda: form != "none" and (form != "auto" or target.platform() == "cpu")
    return _replacing(lambda: _UPDATE if slow() else {}, f)


def evaluate_for_several(
    closed: Any, args: Sequence[Any], consts: Sequence[Any] | None = None
) -> list[Any]:
    """Runs a traced step, to be used under vmap: convolutions are those of all members, and factors
    are taken out of sums.

    Nothing changes where the step has no convolution, and elsewhere than on a GPU.
    """
    rules = _SEVERAL.get(target.platform(), {})
    if not rules or not _mentions(lambda name: name == "conv_general_dilated", closed):
        return evaluate(closed, args, consts=consts)
    return evaluate(closed, args, sums.factored(functools.partial(_equation, rules)), consts)


def _model_rules(form: str, cpu: str = "winograd") -> _Rules:
    """Returns the replacements of a form; `cpu` is what "auto" means on CPU."""
    if form != "auto":
        return _BY_FORM[form]
    platform = target.platform()
    return _BY_FORM[cpu] if platform == "cpu" else _ON_CHIPS.get(platform, {})


def check_form(form: Any) -> None:
    """Raises ValueError if `form` is not one of `FORMS`."""
    if form not in FORMS:
        raise ValueError(f"rewrite={form!r} must be one of {', '.join(map(repr, FORMS))}")


def _replacing(rules: Callable[[], _Rules], f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    @functools.wraps(f)
    def rewritten(*args: Any, **kwargs: Any) -> PyTree:
        chosen = rules()
        return _rewritten(chosen, f, args, kwargs) if chosen else f(*args, **kwargs)

    return rewritten


def _rewritten(
    rules: _Rules, f: Callable[..., PyTree], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> PyTree:
    """Returns what `f` returns, computed by the replacements."""
    leaves, structure = jax.tree.flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))]

    def f_of_arrays(arrays: Sequence[Any]) -> PyTree:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        args, kwargs = jax.tree.unflatten(structure, filled)
        return f(*args, **kwargs)

    arrays = [leaves[i] for i in places]
    traced, shapes = jax.make_jaxpr(f_of_arrays, return_shape=True)(arrays)
    return jax.tree.unflatten(jax.tree.structure(shapes), _walk(rules, traced, arrays))


def _walk(rules: _Rules, closed: Any, args: Sequence[Any]) -> list[Any]:
    """Runs a traced function with the replacements in place.

    Equations that no output needs are left out, such as a model's forward pass in its init.
    """
    return evaluate(closed, args, functools.partial(_equation, rules))


def _equation(rules: _Rules, equation: Any, ins: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in rules:
        out = rules[name](*ins, params)
        if out is not None:
            return [out]
    elif name in _REBUILT and any(_holds(rules, body) for body in subjaxprs(params)):
        return _REBUILT[name](functools.partial(_walk, rules), ins, params)
    drawn = threefry.unrolled(name, ins, params)
    return bind(equation, ins) if drawn is None else drawn


def _jit(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    return walk(params["jaxpr"], ins)  # inlined: all is one program in the end


def _remat(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    if params["differentiated"]:  # what JAX makes of it then
        barrier = lax.optimization_barrier if params["prevent_cse"] else list
        return walk(params["jaxpr"], barrier(ins))
    body = jax.checkpoint(
        lambda *args: walk(params["jaxpr"], args),
        prevent_cse=params["prevent_cse"],
        policy=params["policy"],
    )
    return body(*ins)


def _scan(walk: Walk, ins: list[Any], params: Any) -> Sequence[Any]:
    consts, carried = scan_counts(params)
    constants, start, xs = ins[:consts], ins[consts : consts + carried], ins[consts + carried :]

    def body(carry: list[Any], x: list[Any]) -> Any:
        outs = walk(params["jaxpr"], [*constants, *carry, *x])
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


_REBUILT: dict[str, Callable[..., Sequence[Any]]] = {
    "jit": _jit,
    "remat2": _remat,
    "checkpoint": _remat,
    "scan": _scan,
    "cond": branches.cond,
    "while": branches.while_loop,
}


def _holds(rules: _Rules, closed: Any) -> bool:
    """Whether a traced function holds anything to replace, in itself or in what it calls."""
    return _mentions(lambda name: name in rules or name in threefry.DRAWS, closed)


def _mentions(is_wanted: Callable[[str], bool], closed: Any) -> bool:
    """Whether a traced function holds a primitive, in itself or in what it calls."""
    return any(
        is_wanted(name := equation.primitive.name)
        or (
            name in _REBUILT
            and any(_mentions(is_wanted, body) for body in subjaxprs(equation.params))
        )
        for equation in opened(closed)[0].eqns
    )
