"""Which loops of a compiled program take training steps, whose, and how many."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vtune.costing import traffic
from vtune.costing.program_text import Loop, Program
from vtune.costing.traffic import Kernel
from vtune.engine.cohort_groups import groups
from vtune.engine.plan import Plan
from vtune.engine.replicates import replicate_shape
from vtune.engine.scopes import ROUNDS, STEPS, Training, training_of

_STEPS_LOOP = re.compile(rf"\b{STEPS}\b(?!.*/while/).*/while$")
_ROUNDS_LOOP = re.compile(rf"\b{ROUNDS}/while$")


class StepLoop(NamedTuple):
    """A loop whose iterations are training steps.

    Attributes:
      training: whose steps. steps: how many these members take in the whole sweep.
      trained: trainings on one device: members times folds times seeds. Where members do not deal
        out evenly, those of the fullest.
      kernels: of one step of all of them.
    """

    training: Training
    steps: float
    trained: int
    kernels: tuple[Kernel, ...]


def step_loops(program: Program, plan: Plan) -> list[StepLoop]:
    """Returns the loops that take training steps, in the order of the program.

    They are found by the names that the engine gives them. Where the compiler has kept none of
    them, it is the loop that moves the most.
    """
    whose = [(training_of(loop.path), loop) for loop in program.loops]
    found = [
        _step_loop(program, plan, training, loop, _passes(loop, training))
        for training, loop in whose
        if training is not None and _STEPS_LOOP.search(loop.path)
    ]
    hottest = traffic.hottest(program)
    if found or hottest is None:
        return found
    return [_step_loop(program, plan, Training(0, groups(plan)[0].cohort.size), hottest, 1)]


def _step_loop(
    program: Program, plan: Plan, training: Training, loop: Loop, passes: int
) -> StepLoop:
    cohort = groups(plan)[training.group].cohort
    rounds = sum(rung.rounds for rung in cohort.rungs if rung.size == training.size)
    replicates = math.prod(replicate_shape(plan.replicates))
    return StepLoop(
        training,
        cohort.steps * rounds / plan.rounds,
        -(-training.size // (plan.layout.devices or 1)) * replicates,
        tuple(traffic.kernels(program, loop.body, passes)),
    )


def _passes(loop: Loop, training: Training) -> int:
    """Returns how often the loop is run for all members to take their steps: members that do not
    train side by side train in loops around it."""
    around = (each for each in loop.around if training_of(each.path) == training)
    return math.prod(each.trips or 1 for each in around)


def round_collectives(program: Program) -> Counter[str]:
    """Returns the bytes that devices exchange in a round outside of training steps, by the kind of
    exchange, summed over the cohorts."""
    found: Counter[str] = Counter()
    for loop in program.loops:
        if _ROUNDS_LOOP.search(loop.path):
            found += collectives(_outside_steps(program, loop))
    return found


def collectives(kernels: Iterable[Kernel]) -> Counter[str]:
    """Returns the bytes of the exchanges between devices, by their kind."""
    found: Counter[str] = Counter()
    for kernel in kernels:
        if kernel.collective is not None:
            found[kernel.collective] += kernel.times * max(kernel.read, kernel.wrote)
    return found


def _outside_steps(program: Program, rounds: Loop) -> Iterator[Kernel]:
    """Yields the kernels of a round but for those of its training steps."""
    yield from traffic.kernels(program, rounds.body, nested=False)
    for loop in program.loops:
        within = (*loop.around[len(rounds.around) + 1 :], loop)
        if rounds in loop.around and not any(_STEPS_LOOP.search(each.path) for each in within):
            times = math.prod(each.trips or 1 for each in within)
            yield from traffic.kernels(program, loop.body, times, nested=False)


def operation(path: str) -> str:
    """Returns the user's own operation of a kernel by its path, without what vtune and JAX put
    around it: "MLP/Dense_0/dot_general, backward" for `.../while/body/closed_call/transpose(jvp(MLP
    ))/Dense_0/dot_general`; "" where the compiler kept no path."""
    outside = re.search(rf"^.*?\b{STEPS}\b.*?/while/body/|^.*/while/body/", path)
    inside = "" if outside is None else path[outside.end() :]
    backward = "transpose(" in inside
    parts = [_unwrapped(part) for part in inside.split("/")]
    name = "/".join(part for part in parts if part not in ("", "closed_call", "checkpoint"))
    return f"{name}, backward" if name and backward else name


def _unwrapped(part: str) -> str:
    """Strips what transformations put around a name: "transpose(jvp(MLP))" is "MLP"."""
    found = re.fullmatch(r"(?:transpose|jvp|vmap|jit|remat\d*|custom_\w+)\((.*)\)", part)
    return part if found is None else _unwrapped(found[1])
