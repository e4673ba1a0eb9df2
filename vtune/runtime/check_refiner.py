"""Checks a refiner's decision before anything is compiled, by tracing it with shapes only."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.carry import Arguments
from vtune.engine.objectives import refiner_objectives
from vtune.engine.plan import Plan, describe
from vtune.learner.chance import suspects
from vtune.refine.base import Refinement
from vtune.rng.keys import IMPL
from vtune.types import float_dtype
from vtune.xla.difference import unsteady


def check_refiner(plan: Plan, index: int, arguments: Arguments) -> None:
    """Checks what a refiner decides for one cohort, at every size that it will be asked for.

    Args:
      index: the cohort's number in the plan. arguments: as shapes.

    Raises:
      ValueError, TypeError: the decision does not fit the cohort's rungs or hyperparameters.
    """
    cohort, refiner, space = plan.cohorts[index], arguments.refiner, arguments.space[index]
    name = type(refiner).__name__
    memory = _shapes(f"{name}.init", lambda space: refiner.init(space, cohort.size), space)
    ends = itertools.accumulate(rung.rounds for rung in cohort.rungs)
    to_come = [rung for rung, end in zip(cohort.rungs, ends, strict=True) if end > plan.past]
    sizes = list(dict.fromkeys(rung.size for rung in to_come))
    refine = lambda refiner, *rest: refiner.refine(
        jax.random.key(0, impl=IMPL), jnp.int32(1), *rest
    )
    for size, following in itertools.pairwise(sizes if cohort.shrinks else sizes * 2):
        hparams = {k: jax.ShapeDtypeStruct((size,), dtype) for k, dtype in cohort.traced}
        several = len(refiner_objectives(refiner))
        score = jax.ShapeDtypeStruct((size, several) if several else (size,), float_dtype())
        given = (refiner, space, hparams, score, memory)
        result = _shapes(f"{name}.refine", refine, *given)
        is_pair = isinstance(result, tuple) and len(result) == 2
        if not is_pair or not isinstance(result[0], Refinement):
            raise TypeError(
                f"{name}.refine must return (vt.Refinement(parents, hparams), memory), got "
                f"{type(result).__name__}"
            )
        decision, after = result
        parents, shapes = decision.parents, jax.tree.map(jnp.shape, decision.hparams)
        if not hasattr(parents, "shape"):
            raise TypeError(
                f"{name}.refine gave parents of the type {type(parents).__name__}; return an array "
                f"int32[{following}]"
            )
        if parents.shape != (following,) or parents.dtype != np.int32:
            raise ValueError(
                f"{name}.refine gave parents {parents.dtype}{list(parents.shape)} for {size} "
                f"members; the next rung has {following}: return int32[{following}]"
            )
        if shapes != dict.fromkeys(hparams, (following,)):
            raise ValueError(
                f"{name}.refine gave hyperparameters {shapes}; return every one of "
                f"{list(hparams)}, each [{following}]"
            )
        if describe(memory) != describe(after):
            raise TypeError(
                f"{name}.refine changed its memory from {memory} to {after}; return the structure, "
                "shapes and types that init returns"
            )
        _check_repeats(name, refine, *given)


def _check_repeats(name: str, refine: Callable[..., Any], *arguments: Any) -> None:
    """Raises ValueError where a refiner names a clock or chance and decides otherwise each time."""
    named = suspects(arguments[0], type(arguments[0]))
    if not named:
        return
    # JAX keeps the trace of a function, so each is of a new one.
    trace = lambda: jax.make_jaxpr(lambda *given: refine(*given))(*arguments)
    found = unsteady(lambda: {"refine": trace()})
    if found is not None:
        raise ValueError(
            f"{name}.refine gives something else each time it is called: "
            f"{' and '.join(found[1])}. It reads {', '.join(named)}; what it gave while it was "
            "traced would be part of the program. Draw with jax.random and the key"
        )


def _shapes(who: str, f: Callable[..., Any], *arguments: Any) -> Any:
    """Returns the shapes of what a refiner's method returns.

    Raises:
      TypeError: something in it is no array.
    """

    def checked(*arguments: Any) -> Any:
        result = f(*arguments)
        for leaf in jax.tree.leaves(result):
            if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float):
                raise TypeError(f"{who} returned a {type(leaf).__name__}; return arrays only")
        return result

    return jax.eval_shape(checked, *arguments)
