"""Runs a small traced function with NumPy, so that nothing is compiled for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from vtune.xla.jaxpr import Equation, evaluate_some, needed, opened, subjaxprs


class UnknownOperationError(Exception):
    """The function does something that this file does not know, or reads what is traced."""


def on_host(
    jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], output: int
) -> np.ndarray | None:
    """Returns one output of a traced function; None where that takes more than is known here.

    Args:
      consts, args: arrays; None for those whose values are not known.
    """
    try:
        with np.errstate(all="ignore"):
            (made,) = _run(jaxpr, consts, args, [output])
            return None if made is None else np.asarray(made)
    except UnknownOperationError:
        return None


def _run(
    jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], outputs: Sequence[int]
) -> list[Any]:
    values = dict(zip(jaxpr.invars, args, strict=True))
    values |= zip(jaxpr.constvars, consts, strict=True)
    wanted = [jaxpr.outvars[i] for i in outputs]
    return evaluate_some(needed(jaxpr.eqns, wanted), wanted, values, _equation)


def _equation(equation: Equation, ins: list[Any]) -> Sequence[Any]:
    if any(value is None or isinstance(value, jax.core.Tracer) for value in ins):
        raise UnknownOperationError
    name, ins = equation.primitive.name, list(map(np.asarray, ins))
    held = subjaxprs(equation.params)
    if name in ("jit", "custom_jvp_call") and len(held) == 1:
        return _run(*opened(held[0]), ins, range(len(equation.outvars)))
    if name in _PLAIN:
        made = _PLAIN[name](*ins)
    elif name in _WITH_PARAMETERS:
        made = _WITH_PARAMETERS[name](dict(equation.params), *ins)
    else:
        raise UnknownOperationError
    return [np.asarray(made, equation.outvars[0].aval.dtype)]


_PLAIN: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.invert,
    "is_finite": np.isfinite,
    "copy": np.asarray,
    "clamp": lambda low, x, high: np.clip(x, low, high),
}


def _broadcast(params: Any, x: np.ndarray) -> np.ndarray:
    axes = dict(zip(params["broadcast_dimensions"], x.shape, strict=True))
    shape = params["shape"]
    return np.broadcast_to(x.reshape([axes.get(i, 1) for i in range(len(shape))]), shape)


def _select(params: Any, which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    if which.dtype != np.bool_:
        raise UnknownOperationError
    return np.where(which, cases[1], cases[0])


def _looked_up(params: Any, table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the entries of a table [classes], such as the weight of every class."""
    if table.ndim != 1 or params["slice_sizes"] != (1,) or indices.shape[-1] != 1:
        raise UnknownOperationError
    return table.take(indices[..., 0], mode="clip")


def _reduced(by: Any) -> Callable[..., Any]:
    return lambda params, x: by(x, axis=tuple(params["axes"]))


_WITH_PARAMETERS: dict[str, Callable[..., Any]] = {
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "reshape": lambda params, x: x.reshape(params["new_sizes"]),
    "squeeze": lambda params, x: x.squeeze(tuple(params["dimensions"])),
    "transpose": lambda params, x: x.transpose(params["permutation"]),
    "integer_pow": lambda params, x: x ** params["y"],
    "broadcast_in_dim": _broadcast,
    "select_n": _select,
    "gather": _looked_up,
    "reduce_sum": _reduced(np.sum),
    "reduce_max": _reduced(np.max),
    "reduce_min": _reduced(np.min),
    "reduce_and": _reduced(np.all),
    "reduce_or": _reduced(np.any),
}
