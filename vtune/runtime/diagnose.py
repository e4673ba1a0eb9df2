"""Finds the traced hyperparameter that a user's function uses as a plain Python number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vtune.engine.carry import Arguments
from vtune.engine.parallel import replicated
from vtune.engine.plan import CohortPlan, Plan
from vtune.types import PyTree


def _traced(
    run: Callable[..., Any],
    plan: Plan,
    cohort: CohortPlan,
    arguments: Arguments,
    reads: set[str] | None = None,
) -> PyTree:
    """The shapes of `run(plan, cohort, arguments, h)`; errors are put in plain words. What is read
    of h is noted in `reads`."""
    shapes = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}

    def trace(traced: dict[str, Any], plain: dict[str, Any]) -> PyTree:
        def member(traced: dict[str, Any]) -> PyTree:
            return run(plan, cohort, arguments, cohort.h({**traced, **plain}, reads))

        # where the program will trace it, so that it is traced once
        return jax.eval_shape(replicated(member, plan.layout), traced)

    try:
        return trace(shapes, {})
    except Exception as error:
        culprits, other = _culprits(trace, shapes, error)
        if not culprits:
            raise
        said = f"JAX said: {_first_line(error)}"
        if other is not None:
            said += f"; as a plain number it fails too, with: {_first_line(other)}"
        names = ", ".join(map(repr, culprits))
        ways = _OWN_STEPS if culprits[0] == "total_steps" else _WAYS
        ways = ways.format(first=culprits[0])
        raise TypeError(_TRACED.format(names=names, ways=ways, said=said)) from error


_TRACED = """\
hyperparameter {names} is traced (an array inside the program), but was used as a plain Python \
number: in `if`, in a comparison, with float() or int(), or as a shape. Write instead
{ways}
({said})"""


_WAYS = """\
  - a learning-rate schedule:  vt.schedules.cosine(h["{first}"], h["total_steps"]) or another of \
vt.schedules; or lambda step: h["{first}"] * schedule(step), where `schedule` has peak 1 and is \
made without h["{first}"]
  - a dropout rate:            vt.nn.Dropout(h["{first}"])
  - a choice or a shape:       "{first}": vt.Categorical([...]) in the space"""


_OWN_STEPS = """\
  - a learning-rate schedule:  vt.schedules.cosine(h["lr"], h["total_steps"]) or another of \
vt.schedules, since members that have their own epochs have their own steps
  - one length for all:        epochs= a number"""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_NOT_PLAIN = (  # what JAX raises where an array of a program is used as a Python number
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def _culprits(
    trace: Callable[..., Any], shapes: dict[str, Any], first: Exception
) -> tuple[list[str], Exception | None]:
    """Traced hyperparameters that cannot stay traced, when all others are plain numbers; and what
    is wrong besides, if anything.

    No names where the failure has another cause, so that the user's own error is shown.
    """

    def failure(traced: list[str], number: Callable[[Any], Any]) -> Exception | None:
        plain = {k: number(s) for k, s in shapes.items() if k not in traced}
        try:
            trace({k: shapes[k] for k in traced}, plain)
        except Exception as error:
            return error
        return None

    # Some number that the user's code takes: a rate, a fraction, or a size.
    for value in (1.0, 0.5, 0.1, 1e-3, 1, 2, 8):
        number = lambda s, value=value: type(value)(np.dtype(s.dtype).type(value) or 1)
        other = failure([], number)
        if other is None:
            return [name for name in shapes if failure([name], number) is not None], None
    if isinstance(first, _NOT_PLAIN) and not isinstance(other, _NOT_PLAIN):
        names = [name for name in shapes if isinstance(failure([name], number), _NOT_PLAIN)]
        return names, other
    return [], None
