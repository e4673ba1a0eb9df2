"""Finds where two traces of a function differ in what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vtune.returned import described
from vtune.xla.jaxpr import Atom, is_literal, opened, subjaxprs


def unsteady(
    traced: Callable[[], Mapping[str, Any]], times: int = 5
) -> tuple[str, tuple[str, str]] | None:
    """Returns which of several functions is traced otherwise each time, and what differs; None
    where none is.

    What the first trace alone does otherwise, such as filling a cache, is no difference. Draws from
    few values may agree by chance, so there are more than three.

    Args:
      traced: traces all functions anew and returns the traces by name.
    """
    traced()
    second = traced()
    for _ in range(times - 2):
        other = traced()
        for name, ours in second.items():
            found = difference(ours, other[name])
            if found is not None:
                return name, found
    return None


def difference(ours: Any, theirs: Any) -> tuple[str, str] | None:
    """Returns what two traced functions first differ in: constants, operations or their inputs;
    None where they compute the same.

    Names do not count, nor parameters that are no numbers, such as functions.
    """
    (a, a_consts), (b, b_consts) = opened(ours), opened(theirs)
    if len(a.eqns) != len(b.eqns) or len(a.invars) != len(b.invars):
        return f"{len(a.eqns)} operations", f"{len(b.eqns)}"
    for x, y in zip(a_consts, b_consts, strict=False):
        if not _equal(x, y):
            return _shown(x), _shown(y)
    known = dict(zip([*b.constvars, *b.invars], [*a.constvars, *a.invars], strict=False))
    for x, y in zip(a.eqns, b.eqns, strict=True):
        if x.primitive is not y.primitive:
            return x.primitive.name, y.primitive.name
        found = next(_in_inputs(x.invars, y.invars, known), None) or _in_params(x.params, y.params)
        if found is not None:
            return found
        known |= zip(y.outvars, x.outvars, strict=False)
    return next(_in_inputs(a.outvars, b.outvars, known), None)


def _in_inputs(
    ours: Sequence[Atom], theirs: Sequence[Atom], known: dict[Atom, Atom]
) -> Iterator[tuple[str, str]]:
    for x, y in zip(ours, theirs, strict=False):
        if is_literal(x) and is_literal(y):
            if not _equal(x.val, y.val):
                yield _shown(x.val), _shown(y.val)
        elif is_literal(x) or is_literal(y) or known.get(y) is not x:
            yield "one value", "another"


def _in_params(ours: Any, theirs: Any) -> tuple[str, str] | None:
    for name, value in ours.items():
        numbers, others = _numbers(value), _numbers(theirs.get(name))
        if numbers != others:
            return str(value), str(theirs.get(name))
    bodies = zip(subjaxprs(ours), subjaxprs(theirs), strict=False)
    return next(filter(None, (difference(*pair) for pair in bodies)), None)


def _numbers(value: Any) -> Any:
    """Returns a parameter that consists of numbers; None for others."""
    if isinstance(value, bool | int | float):
        return repr(value)  # NaN equals NaN
    if isinstance(value, tuple):
        return tuple(map(_numbers, value))
    return None


def _equal(x: Any, y: Any) -> bool:
    x, y = _plain(x), _plain(y)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def _plain(x: Any) -> np.ndarray:
    if hasattr(x, "dtype") and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    return np.asarray(x)


def _shown(x: Any) -> str:
    x = _plain(x)
    return str(x) if x.ndim == 0 else f"{described(x)} that begins with {x.reshape(-1)[:1]}"
