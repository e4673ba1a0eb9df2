"""Builds the program once per plan and runs it, segment by segment."""

from __future__ import annotations

import dataclasses
import functools
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from vtune import memory
from vtune import run as program
from vtune.begin import begin
from vtune.cache import use_cache
from vtune.carry import Arguments, Past
from vtune.check import Found, check_cohort, check_refiner, outputs_of
from vtune.group import Group, by_cohort, groups
from vtune.keys import from_words, is_key
from vtune.layout import sharding
from vtune.plan import Plan, most_abreast
from vtune.population import Population
from vtune.room import Room
from vtune.search import Cohort
from vtune.types import PyTree

SEGMENT_SECONDS = 0.5  # how often progress is shown and Ctrl-C answered
Report = Callable[[str, int, float], None]  # (phase, rounds done, best score so far)


@dataclass(frozen=True)
class Program:
    """A compiled plan.

    Attributes:
      call: (carry, first, stop, arguments) -> carry; the carry is donated.
      carry: its shapes. bytes: what it takes, as predicted. limit: what it may take, if known.
      width: members side by side on a device. abreast: as many at most one core steps together.
    """

    call: Callable[..., Any]
    carry: PyTree
    bytes: int
    limit: int | None
    width: int
    abreast: int


@dataclass(frozen=True)
class Outcome:
    """What a run of the program left.

    Attributes:
      carry: on the device. rounds: how many were run (fewer than planned after Ctrl-C).
      compile_seconds: 0 where the program was there already. run_seconds: the rest.
    """

    carry: PyTree
    rounds: int
    compile_seconds: float
    run_seconds: float


@functools.lru_cache(maxsize=32)
def outputs(plan: Plan) -> tuple[PyTree, ...]:
    """By cohort the shapes of what predict returns. Compiles nothing."""
    return tuple(outputs_of(plan, cohort, _shapes(plan)) for cohort in plan.cohorts)


@functools.lru_cache(maxsize=32)
def inspect(plan: Plan) -> tuple[Found, ...]:
    """By cohort what tracing a member shows; raises what is wrong. Compiles nothing."""
    for index in range(len(plan.cohorts)):
        check_refiner(plan, index, _shapes(plan))
    return tuple(check_cohort(plan, cohort, _shapes(plan)) for cohort in plan.cohorts)


@functools.lru_cache(maxsize=32)
def build(plan: Plan) -> Program:
    """Traces and compiles the one executable of a plan, as wide as fits into memory.

    Raises:
      MemoryError: it needs more than there is; before anything is compiled where the population
        alone does.
    """
    use_cache()
    arguments, devices = _shapes(plan), plan.layout.devices or 1
    carry = jax.eval_shape(functools.partial(_starting, plan), arguments)
    limit = plan.layout.memory or memory.there(arguments)
    memory.check_population(carry, sum(cohort.size for cohort in plan.cohorts), limit, devices)
    width = -(-max(group.cohort.size for group in groups(plan)) // devices)
    fitting = plan.layout.chunk == "fit"

    def compile(width: int) -> Any:
        layout = dataclasses.replace(plan.layout, chunk=width) if fitting else plan.layout
        return _compile(dataclasses.replace(plan, layout=layout), carry, arguments)

    fitted = memory.fit(
        compile,
        lambda compiled: memory.needed(compiled, devices),
        width if fitting else min(plan.layout.width or width, width),
        limit,
        fixed=not fitting,
    )
    rooms = isinstance(arguments.data, Room)
    abreast = max(most_abreast(plan, own.population, rooms) for own in carry)
    return Program(fitted.compiled, carry, fitted.need.total, limit, fitted.width, abreast)


def _starting(plan: Plan, arguments: Arguments) -> Any:
    def settings(group: Group) -> Any:
        size = group.cohort.size
        hparams = {k: jax.numpy.zeros(size, dtype) for k, dtype in group.cohort.traced}
        return jax.numpy.zeros(size, "int32"), hparams

    begun = begin(plan, [settings(group) for group in groups(plan)], arguments)
    return by_cohort(plan, begun)


def _compile(plan: Plan, carry: PyTree, arguments: Arguments) -> Any:
    """The executable (carry, first, stop, arguments) -> carry. The carry is donated."""
    options: dict[str, Any] = {}
    everywhere = sharding(plan.layout, None)
    if everywhere is not None:
        shardings = tuple(
            _carry_shardings(plan, None if cohort.shrinks else cohort.size, own)
            for cohort, own in zip(plan.cohorts, carry, strict=True)
        )
        options = {
            "in_shardings": (shardings, everywhere, everywhere, everywhere),
            "out_shardings": shardings,
        }
    call = jax.jit(functools.partial(program.run, plan), donate_argnums=0, **options)
    number = jax.ShapeDtypeStruct((), np.int32)
    return call.lower(carry, number, number, arguments).compile()


def execute(
    plan: Plan,
    cohorts: tuple[Cohort, ...],
    arguments: Arguments,
    report: Report | None = None,
    stop_after: int | None = None,
    past: Past | None = None,
) -> Outcome:
    """Runs a plan from its first round to its last, or only so many rounds.

    Args:
      past: of a sweep that goes on, from the first round to come.

    Ctrl-C is answered between segments: the rounds done are kept and a warning says so. A
    second Ctrl-C does what it always does.
    """
    rounds = stop_after or plan.rounds
    report = report or (lambda phase, rounds, best: None)
    began = time.perf_counter()
    report("compile", 0, -np.inf)
    missed = build.cache_info().misses
    built = build(plan)
    fresh = build.cache_info().misses > missed
    compile_seconds = time.perf_counter() - began if fresh else 0.0

    devices = plan.layout.devices or 1
    memory.say_predicted(built.bytes, built.limit, built.width, devices, built.abreast)
    began = time.perf_counter()
    carry = _blank(built, cohorts) if past is None else _standing(built, past)
    done = plan.past
    segment = 1
    with _Interrupt() as interrupt:
        while done < rounds and not interrupt.asked:
            report("run", done, _best(carry) if done > plan.past else -np.inf)
            start = time.perf_counter()
            stop = min(done + segment, rounds)
            carry = built.call(carry, np.int32(done), np.int32(stop), arguments)
            jax.block_until_ready(carry)
            seconds = time.perf_counter() - start
            segment = max(1, round((stop - done) * SEGMENT_SECONDS / max(seconds, 1e-6)))
            done = stop
    memory.say_used()
    if done < rounds:
        further = "" if plan.stopping else ", and tune(start=sweep, ...) goes on from there"
        warnings.warn(
            f"interrupted: {done} of {plan.rounds} rounds were run; the sweep holds those{further}",
            stacklevel=3,
        )
    report("done", done, _best(carry))
    return Outcome(carry, done, compile_seconds, time.perf_counter() - began)


class _Interrupt:
    """Notes the first Ctrl-C instead of raising: a donated carry must not be lost half-way."""

    def __enter__(self) -> _Interrupt:
        self.asked = False
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)

    def __exit__(self, *_: Any) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def _shapes(plan: Plan) -> Arguments:
    """The program's arguments as shapes, from the plan alone."""
    structure, leaves = plan.arguments
    shapes = [jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for shape, dtype in leaves]
    return jax.tree.unflatten(structure, shapes)


def _carry_shardings(plan: Plan, size: int | None, carry: Any) -> Any:
    def put(tree: PyTree, size: int | None, axis: int = 0) -> PyTree:
        return jax.tree.map(lambda _: sharding(plan.layout, size, axis), tree)

    return type(carry)(
        put(carry.population, size), put(carry.memory, None), put(carry.record, size, 1)
    )


def _blank(built: Program, cohorts: tuple[Cohort, ...]) -> PyTree:
    """The carry that the first call takes: ids and hyperparameters set, the rest zeros.

    Made on the host: a device computation would be a second program.
    """
    blank = jax.tree.map(_empty, built.carry)
    return tuple(
        own._replace(population=own.population._replace(id=cohort.id, hparams=dict(cohort.hparams)))
        for own, cohort in zip(blank, cohorts, strict=True)
    )


def _standing(built: Program, past: Past) -> PyTree:
    """The carry that the first call takes where a sweep goes on: copies, since it is donated."""

    def carry(blank: Any, population: Population, memory: PyTree) -> Any:
        empty = jax.tree.map(_empty, blank)
        parents = empty.record.parents  # what no refiner decides: every slot continues itself
        parents += np.arange(parents.shape[1], dtype=parents.dtype)
        memory = empty.memory if past.memories is None else jax.tree.map(_copy, memory)
        population = jax.tree.map(_filled, blank.population, population)
        return empty._replace(population=population, memory=memory)

    memories = past.memories or (None,) * len(built.carry)
    return tuple(map(carry, built.carry, past.populations, memories))


def _empty(leaf: Any) -> Any:
    return from_words(None, leaf) if is_key(leaf) else np.zeros(leaf.shape, leaf.dtype)


def _copy(leaf: Any) -> Any:
    return from_words(np.array(jax.random.key_data(leaf)), leaf) if is_key(leaf) else np.array(leaf)


def _filled(blank: Any, value: Any) -> Any:
    """A copy with a row a slot: a loaded sweep has no states of members that were dropped."""
    words = np.asarray(jax.random.key_data(value) if is_key(blank) else value)
    rest = np.zeros((blank.shape[0] - len(words), *words.shape[1:]), words.dtype)
    whole = np.concatenate([words, rest])
    return from_words(whole, blank) if is_key(blank) else whole.astype(blank.dtype)


def _best(carry: PyTree) -> float:
    """The best score so far, higher is better."""
    return float(max(np.max(np.asarray(own.population.score)) for own in carry))
