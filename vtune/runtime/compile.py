"""Traces, checks and compiles a plan: one executable for each plan, kept for later calls."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from vtune import target
from vtune.caches import bounded_cache
from vtune.engine import run as program
from vtune.engine.carry import Arguments
from vtune.engine.cohort_groups import Group, carries_by_cohort, groups
from vtune.engine.fusion import fused_members
from vtune.engine.initialize import initialize
from vtune.engine.layout import sharding
from vtune.engine.plan import Plan, shapes_of
from vtune.runtime import memory, processes
from vtune.runtime.check_learner import Inspection, check_cohort, outputs_of
from vtune.runtime.check_refiner import check_refiner
from vtune.runtime.compilation_cache import no_cache, use_cache
from vtune.types import PyTree


@dataclass(frozen=True)
class Program:
    """A compiled plan.

    Attributes:
      call: (carry, first round, stop round, arguments) -> carry; the carry is donated.
      carry: the carry's shapes. shardings: and its shardings; None on one device.
      bytes: the memory that it is predicted to take. limit: what it may take, if known.
      width: members side by side on a device.
      fused: the most members that one core trains together.
    """

    call: Callable[..., Any]
    carry: PyTree
    shardings: PyTree | None
    bytes: int
    limit: int | None
    width: int
    fused: int


@dataclass(frozen=True)
class Free:
    """The bytes that several processes agreed each has free; None where that is not known.

    Any two are equal: a program that is there is used again, however much is free now.
    """

    bytes: int | None = field(compare=False)


@bounded_cache(32, Plan.reads)
def outputs(plan: Plan) -> tuple[PyTree, ...]:
    """Returns by cohort the shapes of what `predict` returns. Compiles nothing."""
    return tuple(outputs_of(plan, cohort, argument_shapes(plan)) for cohort in plan.cohorts)


@bounded_cache(32, Plan.reads)
def inspect(plan: Plan) -> tuple[Inspection, ...]:
    """Checks a plan and returns by cohort what tracing a member shows. Compiles nothing.

    Raises:
      TypeError, ValueError: the learner or the refiner does not fit the plan.
    """
    for index in range(len(plan.cohorts)):
        check_refiner(plan, index, argument_shapes(plan))
    return tuple(check_cohort(plan, cohort, argument_shapes(plan)) for cohort in plan.cohorts)


def free_in_all(plan: Plan) -> Free | None:
    """Returns the least that is free in several processes, which must all compile one program;
    None where there is one. All must ask, also those that have the program."""
    if not processes.several():
        return None
    here = memory.available_bytes(argument_shapes(plan))
    told = processes.told_by_all("predicting memory", here)
    return Free(min((free for free in told if free is not None), default=None))


@bounded_cache(32, lambda plan, free=None: plan.reads())
def build(plan: Plan, free: Free | None = None) -> Program:
    """Traces and compiles the executable of a plan, as wide as fits into memory.

    Args:
      free: see `free_in_all`; None for what is free here.

    Raises:
      MemoryError: it needs more than is available. Where the population alone does, nothing is
        compiled.
    """
    if not target.is_elsewhere():
        use_cache()
    arguments, devices = argument_shapes(plan), plan.layout.devices or 1
    carry = jax.eval_shape(functools.partial(_initial_carry, plan), arguments)
    limit = plan.layout.memory or _limit(arguments, free)
    memory.check_population(carry, sum(cohort.size for cohort in plan.cohorts), limit, devices)
    shared, own = memory.tree_bytes(arguments), memory.tree_bytes(carry)
    width = -(-max(group.cohort.size for group in groups(plan)) // devices)
    fitting = plan.layout.chunk == "fit"

    def compile(width: int) -> Any:
        layout = dataclasses.replace(plan.layout, chunk=width) if fitting else plan.layout
        try:
            return _compile(dataclasses.replace(plan, layout=layout), carry, arguments)
        except jax.errors.JaxRuntimeError as error:
            return memory.refused(error, shared + -(-own // devices), limit)

    def need_of(compiled: Any) -> memory.Need:
        if isinstance(compiled, memory.Refused):
            return compiled.need
        return memory.predicted_need(compiled, devices, shared, own)

    fitted = memory.fit(
        compile,
        need_of,
        width if fitting else min(plan.layout.width or width, width),
        limit,
        fixed=not fitting,
    )
    fused = max(fused_members(plan, cohort.population, arguments.data) for cohort in carry)
    shardings, need = _shardings(plan, carry), fitted.need.total
    return Program(fitted.compiled, carry, shardings, need, limit, fitted.width, fused)


def _limit(arguments: Arguments, free: Free | None) -> int | None:
    """Returns the bytes that a program may take. On a CPU those of all processes together, which
    hold the arguments once each."""
    each = memory.available_bytes(arguments) if free is None else free.bytes
    count = target.processes()
    if each is None or count == 1 or target.platform() != "cpu":
        return each
    shared = memory.tree_bytes(arguments)
    return count * max(0, each - shared) + shared


def argument_shapes(plan: Plan) -> Arguments:
    """Returns the program's arguments as shapes, from the plan alone."""
    return shapes_of(plan.arguments)


def _initial_carry(plan: Plan, arguments: Arguments) -> Any:
    """Returns the carry of members that are all alike, for its shapes."""

    def settings(group: Group) -> Any:
        size = group.cohort.size
        hparams = {k: jax.numpy.zeros(size, dtype) for k, dtype in group.cohort.traced}
        return jax.numpy.zeros(size, "int32"), hparams

    made = initialize(plan, [settings(group) for group in groups(plan)], arguments)
    return carries_by_cohort(plan, made)


def _compile(plan: Plan, carry: PyTree, arguments: Arguments) -> Any:
    """Compiles `engine.run.run` for a plan; see `Program.call`."""
    options: dict[str, Any] = {}
    everywhere = sharding(plan.layout, None)
    if everywhere is not None:
        shardings = _shardings(plan, carry)
        options = {
            "in_shardings": (shardings, everywhere, everywhere, everywhere),
            "out_shardings": shardings,
        }
    call = jax.jit(functools.partial(program.run, plan), donate_argnums=0, **options)
    number = jax.ShapeDtypeStruct((), np.int32)
    traced = call.trace(carry, number, number, arguments)
    lowered = traced.lower(lowering_platforms=target.lowering_platforms())
    if not target.is_elsewhere():
        return lowered.compile()
    with no_cache():  # what was compiled for other devices cannot be read back
        return lowered.compile(compiler_options=target.compiler_options())


def _shardings(plan: Plan, carry: PyTree) -> PyTree | None:
    """Returns the shardings of the carry; None on one device."""
    if sharding(plan.layout, None) is None:
        return None
    return tuple(
        _carry_shardings(plan, None if cohort.shrinks else cohort.size, shapes)
        for cohort, shapes in zip(plan.cohorts, carry, strict=True)
    )


def _carry_shardings(plan: Plan, size: int | None, carry: Any) -> Any:
    """Returns the shardings of a cohort's carry; whole on every device where `size` is None."""

    def put(tree: PyTree, size: int | None, axis: int = 0) -> PyTree:
        return jax.tree.map(lambda _: sharding(plan.layout, size, axis), tree)

    return type(carry)(
        put(carry.population, size), put(carry.memory, None), put(carry.record, size, 1)
    )
