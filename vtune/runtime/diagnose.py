"""Traces one member, and names the traced hyperparameter that a user's function uses as a plain
Python number."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vtune.engine.carry import Arguments
from vtune.engine.parallel import replicated
from vtune.engine.plan import CohortPlan, Plan
from vtune.identity import same
from vtune.returned import ReturnedError
from vtune.types import PyTree


def trace_member(
    run: Callable[..., Any],
    plan: Plan,
    cohort: CohortPlan,
    arguments: Arguments,
    reads: set[str] | None = None,
) -> PyTree:
    """Returns the shapes of `run(plan, cohort, arguments, h)` for one member.

    Args:
      reads: the names of the hyperparameters that are read are added to it.

    Raises:
      TypeError: a traced hyperparameter is used as a plain number. Other errors are the user's own.
    """
    shapes = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}
    reads = set() if reads is None else reads

    def trace(traced: dict[str, Any], plain: dict[str, Any]) -> PyTree:
        def member(traced: dict[str, Any]) -> PyTree:
            return run(plan, cohort, arguments, cohort.h({**traced, **plain}, reads))

        # traced as the program will, on the same devices, so that it is traced once
        return jax.eval_shape(replicated(member, plan.layout), traced)

    try:
        return trace(shapes, {})
    except ReturnedError as error:  # its message says everything
        _note_choices(error, plan, cohort)
        raise
    except Exception as error:
        _note_choices(error, plan, cohort)
        culprits, remaining = _culprits(trace, shapes, error)
        if not culprits:
            for name, value in cohort.static.value.items():
                if name in reads:
                    _note_value(error, name, value, lambda plain: trace(shapes, plain))
            raise
        reason = f"JAX said: {_first_line(error)}"
        if remaining is not None:
            reason += f"; as a plain number it fails too, with: {_first_line(remaining)}"
        names = ", ".join(map(repr, culprits))
        advice = _TOTAL_STEPS_ADVICE if culprits[0] == "total_steps" else _ADVICE
        advice = advice.format(first=culprits[0])
        raise TypeError(_MESSAGE.format(names=names, advice=advice, reason=reason)) from error


def _note_choices(error: Exception, plan: Plan, cohort: CohortPlan) -> None:
    """Notes on an error in which of several cohorts it happened."""
    choices = {
        name: value
        for name, value in cohort.static.value.items()
        if any(
            name in c.static.value and not same(value, c.static.value[name]) for c in plan.cohorts
        )
    }
    if choices:
        shown = ", ".join(f"{name!r}: {str(value)[:60]}" for name, value in choices.items())
        error.add_note(f"this happened with {shown}")


def _note_value(
    error: Exception, name: str, value: Any, trace: Callable[[dict[str, Any]], Any]
) -> None:
    """Notes on an error that a fixed value, or a choice, causes it: a number in its place does not.

    Args:
      trace: traces a member with plain numbers by name.
    """
    for number in (8, 0.1):  # a size, a rate
        try:
            trace({name: number})
        except Exception:
            continue
        shown = f"{reprlib.repr(value)} ({type(value).__name__})"
        if getattr(value, "ndim", 0) == 1:
            shown = f"an array of {len(value)} numbers"
        error.add_note(
            f"{name!r} is a fixed value here, {shown} for every member of the cohort, and "
            f'{number} in its place works; to try several numbers, write "{name}": '
            "vt.Ordinal([...]), or vt.Categorical([...]) where they set shapes"
        )
        return


_MESSAGE = """\
hyperparameter {names} is traced (an array inside the program), but was used as a plain Python \
number: in `if`, in a comparison, with float() or int(), or as a shape. Write instead
{advice}
({reason})"""


_ADVICE = """\
  - a learning-rate schedule:  vt.schedules.cosine(h["{first}"], h["total_steps"]) or another of \
vt.schedules; or lambda step: h["{first}"] * schedule(step), where `schedule` has peak 1 and is \
made without h["{first}"]
  - a dropout rate:            vt.nn.Dropout(h["{first}"]), or, in an nnx model, \
vt.nn.Dropout(h["{first}"], rngs=rngs)
  - a choice or a shape:       "{first}": vt.Categorical([...]) in the space"""


_TOTAL_STEPS_ADVICE = """\
  - a learning-rate schedule:  vt.schedules.cosine(h["lr"], h["total_steps"]) or another of \
vt.schedules, since members with their own epochs, or folds of unlike size, have their own steps
  - one length for all:        epochs= a number, or, with such folds, steps="""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_NOT_A_NUMBER = (  # what JAX raises where a traced array is used as a Python number
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def _culprits(
    trace: Callable[..., Any], shapes: dict[str, Any], first: Exception
) -> tuple[list[str], Exception | None]:
    """Returns the names of the hyperparameters that fail when they alone are traced, and the error
    that remains when none is traced, if there is one.

    There are no names where the failure has another cause; the user's own error is then shown.
    """

    def failure(traced: list[str], number: Callable[[Any], Any]) -> Exception | None:
        plain = {k: number(s) for k, s in shapes.items() if k not in traced}
        try:
            trace({k: shapes[k] for k in traced}, plain)
        except Exception as error:
            return error
        return None

    # The user's code may accept only a rate, a fraction or a size: try several numbers.
    for value in (1.0, 0.5, 0.1, 1e-3, 1, 2, 8):
        number = lambda s, value=value: type(value)(np.dtype(s.dtype).type(value) or 1)
        remaining = failure([], number)
        if remaining is None:
            return [name for name in shapes if failure([name], number) is not None], None
    if isinstance(first, _NOT_A_NUMBER) and not isinstance(remaining, _NOT_A_NUMBER):
        names = [name for name in shapes if isinstance(failure([name], number), _NOT_A_NUMBER)]
        return names, remaining
    return [], None
