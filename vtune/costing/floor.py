"""What one training's step needs at least: counted in its traced equations, on no machine.

    floor = the floating-point arrays of the state, read once and written once (weights, moments)
          + the results of matrix products and convolutions, written once and read once,
            but for those that are gradients of weights, which the optimizer can take at once,
            and those that one batch gives for all members

A result counts as the gradient of a weight if it reaches the new state through operations that keep
its number of elements.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtune.engine.carry import Arguments, shared_weights
from vtune.engine.plan import CohortPlan, Plan
from vtune.engine.replicates import replicate_shape
from vtune.engine.shared_work import shared_step
from vtune.engine.stepping import batch_shapes
from vtune.rng.keys import member_key
from vtune.types import PyTree
from vtune.xla.jaxpr import Equation, is_literal, opened, scan_counts, subjaxprs

_PRODUCTS = ("dot_general", "conv_general_dilated")


class Needs(NamedTuple):
    """What one training's step needs at least.

    Attributes:
      bytes: read and written.
      flops: of matrix products and convolutions, by kind: the type of the numbers multiplied, and
        "float32 highest" where full precision is asked for.
    """

    bytes: int
    flops: dict[str, float]


def step_needs(plan: Plan, cohort: CohortPlan, population: Any, arguments: Arguments) -> Needs:
    """Returns what one training's step needs; compiles nothing.

    Args:
      population, arguments: shapes will do.
    """
    axes = 1 + len(replicate_shape(plan.replicates))
    one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype)
    state = jax.tree.map(one, population.state)
    hparams = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}
    work = shared_step(plan, cohort, population, arguments)
    rows = ((batch_shapes(arguments.data, cohort.batch_size),), list(work.shapes))

    def step(traced: Any, state: PyTree, rows: Any, weights: PyTree) -> PyTree:
        return work(weights, member_key(np.uint32(0), 0), cohort.h(traced), state, rows)[0]

    floating = (leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating))
    carried = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in floating)
    needs = products(jax.make_jaxpr(step)(hparams, state, rows, shared_weights(plan, arguments)))
    return Needs(2 * carried + needs.bytes, needs.flops)


def products(closed: Any) -> Needs:
    """Returns what the products of a traced function of a new state need; see the file's text."""
    jaxpr, _ = opened(closed)
    gradients = _Gradients(jaxpr).found
    moved, flops = 0.0, defaultdict[str, float](float)
    for equation, times in _products(jaxpr, 1.0):
        result = equation.outvars[0].aval
        if id(equation) not in gradients:
            moved += times * 2 * result.size * result.dtype.itemsize
        flops[_kind(equation)] += times * _flops(equation)
    return Needs(round(moved), dict(flops))


def _products(jaxpr: Any, times: float) -> Iterator[tuple[Equation, float]]:
    """Yields the products and how often each is done. A loop of unknown length counts once; of the
    branches of a condition all do, since members side by side take all of them."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in _PRODUCTS:
            yield equation, times
        within = times * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        for inner in subjaxprs(equation.params):
            yield from _products(opened(inner)[0], within)


def _flops(equation: Equation) -> float:
    left, right = (atom.aval for atom in equation.invars[:2])
    result = equation.outvars[0].aval
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * result.size * math.prod(left.shape[axis] for axis in contracted)
    features = right.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2.0 * result.size * right.size / features


def _kind(equation: Equation) -> str:
    dtype = str(equation.invars[0].aval.dtype)
    precision = equation.params.get("precision")
    given = precision if isinstance(precision, tuple) else (precision,)
    return f"{dtype} highest" if jax.lax.Precision.HIGHEST in given else dtype


class _Gradients:
    """Finds the products whose results reach the outputs through operations that keep the number of
    elements; `found` holds the ids of their equations."""

    def __init__(self, jaxpr: Any):
        self._reaching: set[Any] = {atom for atom in jaxpr.outvars if not is_literal(atom)}
        self.found: set[int] = set()
        self._follow(jaxpr)

    def _follow(self, jaxpr: Any) -> None:
        for equation in reversed(jaxpr.eqns):
            reached = [out for out in equation.outvars if out in self._reaching]
            if not reached:
                continue
            inside = [opened(inner)[0] for inner in subjaxprs(equation.params)]
            if inside:
                for inner in inside:
                    self._enter(equation, inner)
            elif equation.primitive.name in _PRODUCTS:
                self.found.add(id(equation))
            else:
                sizes = {out.aval.size for out in reached}
                self._mark(a for a in equation.invars if getattr(a.aval, "size", None) in sizes)

    def _mark(self, atoms: Any) -> None:
        self._reaching |= {atom for atom in atoms if not is_literal(atom)}

    def _enter(self, equation: Equation, inner: Any) -> None:
        """Goes on inside an equation: a call, a loop's body, a branch."""
        if len(inner.outvars) != len(equation.outvars):
            return  # the condition of a loop
        outer = equation.invars[len(equation.invars) - len(inner.invars) :]
        pairs = list(zip(equation.outvars, inner.outvars, strict=True))
        self._mark(within for out, within in pairs if out in self._reaching)
        first, count = _carried(equation)
        while True:
            self._follow(inner)
            before = len(self._reaching)
            carried = zip(inner.invars[first : first + count], inner.outvars, strict=False)
            self._mark(after for given, after in carried if given in self._reaching)
            if len(self._reaching) == before:
                break
        self._mark(a for a, b in zip(outer, inner.invars, strict=True) if b in self._reaching)


def _carried(equation: Equation) -> tuple[int, int]:
    """Returns where what a loop carries begins among its body's arguments, and how many it is."""
    params = equation.params
    if equation.primitive.name == "scan":
        return scan_counts(params)
    if equation.primitive.name == "while":
        return params["body_nconsts"], len(equation.outvars)
    return 0, 0
