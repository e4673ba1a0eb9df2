"""Builds the program once per plan and runs it, segment by segment."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from vtune.engine.carry import Arguments, EarlierRun
from vtune.engine.plan import Plan
from vtune.engine.population import Population
from vtune.rng.keys import from_words, is_key
from vtune.runtime import memory
from vtune.runtime.compile import Program, build
from vtune.search.base import Cohort
from vtune.types import PyTree

SEGMENT_SECONDS = 0.5  # how often progress is shown and Ctrl-C answered
Report = Callable[[str, int, float], None]  # (phase, rounds done, best score so far)


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


def execute(
    plan: Plan,
    cohorts: tuple[Cohort, ...],
    arguments: Arguments,
    report: Report | None = None,
    stop_after: int | None = None,
    past: EarlierRun | None = None,
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
    memory.say_predicted(built.bytes, built.limit, built.width, devices, built.fused)
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


def _blank(built: Program, cohorts: tuple[Cohort, ...]) -> PyTree:
    """The carry that the first call takes: ids and hyperparameters set, the rest zeros.

    Made on the host: a device computation would be a second program.
    """
    blank = jax.tree.map(_empty, built.carry)
    return tuple(
        own._replace(population=own.population._replace(id=cohort.id, hparams=dict(cohort.hparams)))
        for own, cohort in zip(blank, cohorts, strict=True)
    )


def _standing(built: Program, past: EarlierRun) -> PyTree:
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
