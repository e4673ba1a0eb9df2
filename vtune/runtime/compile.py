"""Traces, checks and compiles a plan: one executable for each plan, kept for later calls."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from vtune import host_memory, target
from vtune.caches import bounded_cache
from vtune.engine import pieces
from vtune.engine import run as program
from vtune.engine.carry import Arguments, Carry
from vtune.engine.cohort_groups import Group, carries_by_cohort, groups
from vtune.engine.fusion import fused_members
from vtune.engine.initialize import initial_shapes
from vtune.engine.lanes import Reading
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
      fed: where the data lie on the host, what it is called with besides, see `Fed`. It is then
        `pieces.advance` that is called.
    """

    call: Callable[..., Any]
    carry: PyTree
    shardings: PyTree | None
    bytes: int
    limit: int | None
    width: int
    fused: int
    fed: Fed | None = None


@dataclass(frozen=True)
class Fed:
    """What a program of data on the host carries within a round, and is sent.

    Attributes:
      under_way: by group, as shapes. shardings: of these; None on one device.
      readings: by lane, how many batches it is sent at a time.
    """

    under_way: PyTree
    shardings: PyTree | None
    readings: tuple[Reading, ...]


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
    by_group = initial_shapes(plan, arguments)
    carry = jax.eval_shape(functools.partial(carries_by_cohort, plan), by_group)
    fed = _fed(plan, by_group, arguments)
    limit = plan.layout.memory or _limit(arguments, free)
    memory.check_population(carry, sum(cohort.size for cohort in plan.cohorts), limit, devices)
    shared, own = memory.tree_bytes(arguments), memory.tree_bytes(carry)
    if fed is not None:  # and while a window is used the next one is read
        shared, own = 2 * shared, own + memory.tree_bytes(fed.under_way)
    width = -(-max(group.cohort.size for group in groups(plan)) // devices)
    fitting = plan.layout.chunk == "fit"

    kept = memory.tree_bytes(carry) if fed is not None and _keeps_rounds(plan) else 0

    def compile(width: int) -> Any:
        layout = dataclasses.replace(plan.layout, chunk=width) if fitting else plan.layout
        try:
            return _compile(dataclasses.replace(plan, layout=layout), carry, fed, arguments)
        except jax.errors.JaxRuntimeError as error:
            return memory.refused(error, shared + -(-own // devices), limit)

    def need_of(compiled: Any) -> memory.Need:
        if isinstance(compiled, memory.Refused):
            return compiled.need
        need = memory.predicted_need(compiled, devices, shared, own)
        return need._replace(resident=need.resident + kept)

    fitted = memory.fit(
        compile,
        need_of,
        width if fitting else min(plan.layout.width or width, width),
        limit,
        fixed=not fitting,
    )
    fused = max(fused_members(plan, cohort.population, arguments.data) for cohort in carry)
    host_memory.give_back()
    shardings, need = _shardings(plan, carry), fitted.need.total
    return Program(fitted.compiled, carry, shardings, need, limit, fitted.width, fused, fed)


def _keeps_rounds(plan: Plan) -> bool:
    """Whether the carry is copied after each round to memory that the program's is part of."""
    return plan.rounds > 1 and target.platform() == "cpu" and not processes.several()


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


def _compile(plan: Plan, carry: PyTree, fed: Fed | None, arguments: Arguments) -> Any:
    """Compiles `engine.run.run`, or `engine.pieces.advance`, for a plan; see `Program.call`."""
    everywhere, shardings = sharding(plan.layout, None), _shardings(plan, carry)
    number = jax.ShapeDtypeStruct((), np.int32)
    if fed is None:
        function: Any = program.run
        carried: Any = carry
        numbers: tuple[Any, ...] = (number, number)
        places: Any = shardings
        out: Any = shardings
    else:
        function, carried = pieces.advance, (carry, fed.under_way)
        numbers = (piece_shapes(arguments),)
        places = (shardings, fed.shardings)
        out = (places, everywhere)
    options: dict[str, Any] = {}
    if everywhere is not None:
        options = {
            "in_shardings": (places, *[everywhere] * len(numbers), everywhere),
            "out_shardings": out,
        }
    call = jax.jit(functools.partial(function, plan), donate_argnums=0, **options)
    traced = call.trace(carried, *numbers, arguments)
    lowered = traced.lower(lowering_platforms=target.lowering_platforms())
    if not target.is_elsewhere():
        return lowered.compile()
    with no_cache():  # what was compiled for other devices cannot be read back
        return lowered.compile(compiler_options=target.compiler_options())


def piece_shapes(arguments: Arguments) -> pieces.Piece:
    """Returns the numbers of a piece as shapes."""
    data: Any = arguments.data
    number, folds = jax.ShapeDtypeStruct((), np.int32), data.folds
    steps = jax.ShapeDtypeStruct((folds,), np.int32)
    return pieces.Piece(number, number, steps, steps, number, number)


def _fed(plan: Plan, by_group: tuple[Carry, ...], arguments: Arguments) -> Fed | None:
    """Returns what a program of data on the host needs besides; None of other data."""
    data = arguments.data
    if data is None or not data.on_host:
        return None
    nothing = functools.partial(pieces.nothing_under_way, plan)
    under_way, shardings = jax.eval_shape(nothing, by_group, arguments), None
    if sharding(plan.layout, None) is not None:
        put = lambda tree, size: jax.tree.map(lambda _: sharding(plan.layout, size), tree)
        sizes = map(_size, groups(plan))
        shardings = tuple(put(tree, size) for tree, size in zip(under_way, sizes, strict=True))
    populations = [carry.population for carry in by_group]
    return Fed(under_way, shardings, pieces.readings(plan, populations, arguments))


def _size(group: Group) -> int | None:
    """Returns the members that a group's arrays are cut up by; None where they lie whole."""
    return None if group.cohort.shrinks else group.cohort.size


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
