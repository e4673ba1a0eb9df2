"""What one training of a cohort costs besides its scores: parameters, operations, measured time.

All of it is told outside the program, from one training's step. A member of several folds or seeds
is as many trainings, all alike.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from vtune.caches import bounded_cache
from vtune.engine.plan import CohortPlan
from vtune.learner.captured import captured
from vtune.learner.frozen import sharing
from vtune.learner.lookahead import slow
from vtune.learner.net import NetState
from vtune.learner.protocol import Learner, first_state, traced_once
from vtune.metrics.totals import widened
from vtune.rng.keys import member_key
from vtune.rng.threefry import folded
from vtune.runtime.compilation_cache import use_cache
from vtune.types import PyTree
from vtune.xla.jaxpr import evaluate, opened, subjaxprs
from vtune.xla.loops import flat

REPETITIONS = 5  # of a measurement, whose median counts
LEAST_SECONDS = 0.02  # that a measured call takes; the clock and the call itself are then small


class OneTraining(NamedTuple):
    """One training of a cohort, as far as its step's cost depends on it.

    Attributes:
      learner, cohort: of the sweep.
      config: the settings of JAX that change what is computed.
      batch: (shape, dtype) of a training batch's entries by name, sorted; None without data.
      traced: values of the traced hyperparameters by name, sorted.
      shared: (path, shape, dtype) of the weights in which members' frozen variables are, sorted;
        None where they have none.
    """

    learner: Learner
    cohort: CohortPlan
    config: tuple[Any, ...]
    batch: tuple[tuple[str, tuple[tuple[int, ...], str]], ...] | None
    traced: tuple[tuple[str, float], ...]
    shared: tuple[tuple[tuple[Any, ...], tuple[int, ...], str], ...] | None = None

    def reads(self) -> Any:
        """Returns what the learner's functions read from outside at present."""
        values = self.cohort.static.value.values()
        return captured(self.learner, *(v for v in values if isinstance(v, FunctionType | type)))

    @property
    def shapes(self) -> PyTree:
        """The shapes of a batch."""
        if self.batch is None:
            return None
        return {name: jax.ShapeDtypeStruct(*shape) for name, shape in self.batch}

    @property
    def weights(self) -> PyTree:
        """The shapes of the weights in which the frozen variables are."""
        if self.shared is None:
            return None
        shape = jax.ShapeDtypeStruct
        return unflatten_dict({path: shape(*of) for path, *of in self.shared})

    def start(self, traced: Mapping[str, Any], batch: PyTree) -> PyTree:
        """Returns the training's first state."""
        h = self.cohort.h({**traced})
        return first_state(traced_once(self.learner), member_key(np.uint32(0), 0), h, batch, None)

    def step(
        self, number: Any, traced: Mapping[str, Any], state: PyTree, batch: PyTree, weights: PyTree
    ) -> Any:
        """Returns the state after a step, and the step's metrics."""
        key = folded(member_key(np.uint32(0), 0), number)
        learner = sharing(traced_once(self.learner), weights)
        state, metrics = learner.step(key, self.cohort.h({**traced}), state, batch)
        return state, widened(metrics)

    def traced_shapes(self) -> dict[str, Any]:
        """Returns the traced hyperparameters as shapes."""
        return {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in self.cohort.traced}


def parameters(training: OneTraining) -> float:
    """Returns how many numbers a training learns: the elements of its weights.

    Raises:
      ValueError: the learner does not say what its weights are.
    """
    state = jax.eval_shape(training.start, training.traced_shapes(), training.shapes)
    learner = training.learner
    if isinstance(state, NetState):
        weights = slow(state.params)
    elif learner.variables is None:
        raise ValueError(
            '"params": the learner does not say what its weights are; give '
            "vt.Learner(variables=lambda state: ...), which returns them"
        )
    else:
        weights = jax.eval_shape(learner.variables, state)
        if isinstance(weights, Mapping) and "params" in weights:
            weights = weights["params"]
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    return float(sum(leaf.size for leaf in jax.tree.leaves(weights) if floating(leaf)))


@bounded_cache(64, OneTraining.reads)
def operations(training: OneTraining) -> float:
    """Returns the floating-point operations of a step, as XLA counts them before it compiles."""
    traced = training.traced_shapes()
    state = jax.eval_shape(training.start, traced, training.shapes)
    step = functools.partial(training.step, np.int32(0))
    given = traced, state, training.shapes, training.weights
    return counted_operations(jax.make_jaxpr(step)(*given))


def counted_operations(closed: Any) -> float:
    """Returns the operations of a traced function, each loop of a known length as often as it runs.

    XLA counts the body of a loop once.
    """
    count = _counted(closed)
    for body, length, counted in _loops(opened(closed)[0]):
        count += length * counted_operations(body) - counted * _counted(body)
    return count


def _counted(closed: Any) -> float:
    run = lambda *arguments: evaluate(closed, arguments)
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in opened(closed)[0].invars]
    analysis = jax.jit(run).lower(*shapes).cost_analysis() or {}
    return float(analysis.get("flops", 0.0))


def _loops(jaxpr: Any) -> list[tuple[Any, int, int]]:
    """Returns of every outermost `lax.scan` its body, its length, and how often XLA counts it."""
    found = []
    for equation in jaxpr.eqns:
        inner = subjaxprs(equation.params)
        if equation.primitive.name == "scan":
            length, unrolled = equation.params["length"], int(equation.params["unroll"])
            counted = length if unrolled >= length else unrolled + length % unrolled
            found.append((inner[0], length, counted))
        else:
            for body in inner:
                found += _loops(opened(body)[0])
    return found


@bounded_cache(64, OneTraining.reads)
def seconds(training: OneTraining) -> float:
    """Returns the measured seconds of a step, alone on one device: the median of several
    measurements. Real numbers of the batch are drawn, whole ones are 0."""
    use_cache()
    traced = {
        name: np.asarray(dict(training.traced)[name], dtype)
        for name, dtype in training.cohort.traced
    }
    rng = np.random.default_rng(0)
    made_up = functools.partial(_made_up, rng)
    batch, weights = (jax.tree.map(made_up, of) for of in (training.shapes, training.weights))

    def steps(count: Any, traced: Any, state: PyTree, batch: PyTree, weights: PyTree) -> PyTree:
        shapes = jax.eval_shape(training.step, np.int32(0), traced, state, batch, weights)[1]
        metrics = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        def one(i: Any, carry: Any) -> Any:
            state, new = training.step(i, traced, carry[0], batch, weights)
            return state, jax.tree.map(jnp.add, carry[1], new)

        return flat.fori_loop(0, count, one, (state, metrics))

    with jax.debug_nans(False), jax.debug_infs(False):  # a made-up training may diverge
        state = jax.jit(training.start)(traced, batch)
        run, given = jax.jit(steps), (traced, state, batch, weights)
        measured = lambda count: _measured(lambda: run(np.int32(count), *given))
        measured(1)  # compiles
        count = 1
        while measured(count) < LEAST_SECONDS and count < 2**20:
            count *= 2
        return statistics.median(measured(count) / count for _ in range(REPETITIONS))


def _made_up(rng: np.random.Generator, shape: Any) -> np.ndarray:
    if jnp.issubdtype(shape.dtype, jnp.floating):
        return rng.normal(size=shape.shape).astype(shape.dtype)
    return np.zeros(shape.shape, shape.dtype)


def _measured(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


class Cost(NamedTuple):
    """A cost of one training: how it is told, and whether "min" or "max" of it is better."""

    of: Callable[[OneTraining], float]
    mode: str


COSTS: Mapping[str, Cost] = {
    "params": Cost(parameters, "min"),
    "flops": Cost(operations, "min"),
    "step_seconds": Cost(seconds, "min"),
}
