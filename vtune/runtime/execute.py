"""Runs a plan's program segment by segment. What ends a whole run early, Ctrl-C, is here."""

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
      carry: by cohort, on the device.
      rounds: how many were run, earlier runs included; fewer than planned after Ctrl-C.
      compile_seconds: 0 where the program had been compiled before.
      run_seconds: the rest.
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
    """Runs a plan from its first round to its last.

    Ctrl-C is answered between segments: the rounds done are kept and a warning says so. A
    second Ctrl-C interrupts as usual.

    Args:
      cohorts: ids and hyperparameters of the members at the start.
      report: is told of the progress.
      stop_after: the rounds to run where not all of them are.
      past: what the earlier run of an extended sweep left.
    """
    rounds = stop_after or plan.rounds
    report = report or (lambda phase, rounds, best: None)
    began = time.perf_counter()
    report("compile", 0, -np.inf)
    misses = build.cache_info().misses
    built = build(plan)
    compiled = build.cache_info().misses > misses
    compile_seconds = time.perf_counter() - began if compiled else 0.0

    devices = plan.layout.devices or 1
    memory.log_predicted(built.bytes, built.limit, built.width, devices, built.fused)
    began = time.perf_counter()
    carry = first_carry(built, cohorts) if past is None else _continued_carry(built, past)
    done = plan.past
    segment = 1
    with _Interrupt() as interrupt:
        while done < rounds and not interrupt.asked:
            report("run", done, best_score(carry) if done > plan.past else -np.inf)
            start = time.perf_counter()
            stop = min(done + segment, rounds)
            carry = built.call(carry, np.int32(done), np.int32(stop), arguments)
            jax.block_until_ready(carry)
            seconds = time.perf_counter() - start
            segment = max(1, round((stop - done) * SEGMENT_SECONDS / max(seconds, 1e-6)))
            done = stop
    memory.log_peak()
    if done < rounds:
        hint = "" if plan.stopping else ", and vt.extend(sweep, ...) trains on from there"
        warnings.warn(
            f"interrupted: {done} of {plan.rounds} rounds were run; the sweep holds those{hint}",
            stacklevel=3,
        )
    report("done", done, best_score(carry))
    return Outcome(carry, done, compile_seconds, time.perf_counter() - began)


class _Interrupt:
    """Notes the first Ctrl-C instead of raising: the donated carry of a segment would be lost."""

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


def first_carry(built: Program, cohorts: tuple[Cohort, ...]) -> PyTree:
    """Returns the carry for the first call of a new sweep: ids and hyperparameters, the rest zeros.

    It is made on the host; on the device it would be a second program.
    """
    return tuple(
        carry._replace(
            population=carry.population._replace(id=cohort.id, hparams=dict(cohort.hparams))
        )
        for carry, cohort in zip(jax.tree.map(_zeros, built.carry), cohorts, strict=True)
    )


def _continued_carry(built: Program, past: EarlierRun) -> PyTree:
    """Returns the carry for the first call of an extended sweep: copies, since it is donated."""

    def carry(shapes: Any, population: Population, memory: PyTree) -> Any:
        zeros = jax.tree.map(_zeros, shapes)
        parents = zeros.record.parents  # the default: every slot continues itself
        parents += np.arange(parents.shape[1], dtype=parents.dtype)
        memory = zeros.memory if past.memories is None else jax.tree.map(_copy, memory)
        population = jax.tree.map(_copy_to_slots, shapes.population, population)
        return zeros._replace(population=population, memory=memory)

    memories = past.memories or (None,) * len(built.carry)
    return tuple(map(carry, built.carry, past.populations, memories))


def _zeros(shape: Any) -> Any:
    return from_words(None, shape) if is_key(shape) else np.zeros(shape.shape, shape.dtype)


def _copy(leaf: Any) -> Any:
    return from_words(np.array(jax.random.key_data(leaf)), leaf) if is_key(leaf) else np.array(leaf)


def _copy_to_slots(shape: Any, value: Any) -> Any:
    """Returns a copy with one row per slot. A loaded sweep has no states of dropped members; their
    slots are zeros."""
    words = np.asarray(jax.random.key_data(value) if is_key(shape) else value)
    missing = np.zeros((shape.shape[0] - len(words), *words.shape[1:]), words.dtype)
    filled = np.concatenate([words, missing])
    return from_words(filled, shape) if is_key(shape) else filled.astype(shape.dtype)


def best_score(carry: PyTree) -> float:
    """Returns the best score among all members; higher is better."""
    return float(max(np.max(np.asarray(cohort.population.score)) for cohort in carry))
