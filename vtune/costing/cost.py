"""`vt.cost`: what a sweep takes on a chip, told without training and without the chip."""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vtune import target
from vtune.costing.chips import Chip, chip_named, devices_of
from vtune.costing.floor import step_needs
from vtune.costing.program_text import parse
from vtune.costing.report import Cost, Mover
from vtune.costing.traffic import Traffic, total
from vtune.costing.trainings import StepLoop, collectives, operation, round_collectives, step_loops
from vtune.data.dataset import Data
from vtune.engine.cohort_groups import groups
from vtune.engine.layout import Layout
from vtune.engine.plan import Plan
from vtune.engine.replicates import replicate_shape
from vtune.hparams import Hparams
from vtune.keywords import answering
from vtune.learner.protocol import Learner
from vtune.refine.base import Refiner
from vtune.runtime.compile import Program, argument_shapes, build
from vtune.runtime.windows import with_window
from vtune.search.base import Search
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare

if TYPE_CHECKING:
    import pandas

MOVERS = 5  # how many are told


@answering
def cost(
    learner: Learner,
    space: Any,
    data: Data | None = None,
    *,
    chip: str | None = None,
    devices: int | None = None,
    search: Search | Sequence[Mapping[str, Any]] | pandas.DataFrame | None = None,
    refiner: Refiner | None = None,
    epochs: int | Callable[[Hparams], int] | None = None,
    steps: int | None = None,
    rounds: int | None = None,
    batch_size: int | Callable[[Hparams], int] | None = None,
    eval_batch_size: int | None = None,
    metric: str | Callable[..., Any] = "loss",
    mode: str | None = None,
    seed: int = 0,
    patience: int | None = None,
    keep: str | None = None,
    init_from: Any = None,
    frozen: Any = None,
    cache_features: bool = False,
    seeds: int | None = None,
    layout: str | int | Layout | None = None,
) -> Cost:
    """Returns what a sweep takes on a chip: kernels, bytes, memory, and the least time.

    The sweep is compiled as `vt.tune` compiles it, and not run. The chip need not be there, its
    compiler must: `pip install "jax[tpu]"` or `"jax[cuda13]"`, with JAX_PLATFORMS=cpu in the
    environment. The figures are read off the optimised program, so they are the same on every
    machine. What they cannot show: which algorithms a device's autotuner would choose, how long it
    takes to start a kernel, what overlaps.

    Args:
      chip: "h200" (NVIDIA H200) or "v5e" (TPU v5e); None for the machine at hand, whose rates are
        unknown: `seconds_at_least` is then None.
      devices: how many chips share the population; 1 when left out. With `chip=None` the devices of
        this machine are those of `layout`.
      learner, space, data, search, ...: as in `vt.tune`. `layout` without a limit of memory takes
        that of the chip.

    Returns:
      A `Cost`, which says what each of its figures is.

    Raises:
      TypeError, ValueError: an argument cannot work. Raised before anything is compiled.
      ImportError: the chip's compiler is not installed.
      RuntimeError: JAX was started in another way than compiling for the chip needs.
      MemoryError: the sweep does not fit into the chip's memory.

    Examples:
      >>> import jax.numpy as jnp, vtune as vt
      >>> quadratic = vt.Learner(
      ...     init=lambda key, h, batch: jnp.ones(1000),
      ...     step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
      ...     measure=lambda key, h, x, batch, weight: jnp.sum(x**2),
      ...     score=lambda total: {"loss": total},
      ... )
      >>> found = vt.cost(quadratic, {"lr": vt.Float(0.1, 1.0)}, steps=10, search=vt.Halton(8))
      >>> found.floor_bytes_per_member  # 1,000 weights of 4 bytes, read and written
      8000
    """
    given = TuneArguments(
        learner=learner,
        space=space,
        data=data,
        search=search,
        refiner=refiner,
        epochs=epochs,
        steps=steps,
        rounds=rounds,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        metric=metric,
        mode=mode,
        seed=seed,
        patience=patience,
        keep=keep,
        init_from=init_from,
        frozen=frozen,
        cache_features=cache_features,
        seeds=seeds,
        layout=layout,
    )
    if chip is None and devices is not None:
        raise ValueError(
            f"devices={devices!r} goes with chip=; for this machine's own write "
            "layout=vt.Layout(devices=...)"
        )
    wanted = None if chip is None else chip_named(chip)
    with _compiling_for(wanted, 1 if devices is None else devices):
        prepared = prepare(given)
        plan, _ = with_window(prepared.plan, prepared.arguments)
        began, missed = time.perf_counter(), build.cache_info().misses
        built = build(plan)
        compiled = build.cache_info().misses > missed
        seconds = time.perf_counter() - began if compiled else 0.0
        return _cost(wanted, plan, built, seconds)


def _compiling_for(chip: Chip | None, devices: Any) -> Any:
    if chip is None:
        return contextlib.nullcontext()
    return target.compiling_for(devices_of(chip, devices), chip.memory, chip.options)


class _Step(NamedTuple):
    """One step of the members of a loop, on one device.

    Attributes:
      weight: how many of these steps a step of the sweep is.
      trained: trainings that take it.
    """

    weight: float
    trained: int
    traffic: Traffic
    floor: float
    flops: dict[str, float]


def _cost(chip: Chip | None, plan: Plan, built: Program, compile_seconds: float) -> Cost:
    """Reads the figures off a compiled plan."""
    compiled: Any = built.call
    program = parse(compiled.as_text())
    loops = step_loops(program, plan)
    longest = max(cohort.steps for cohort in plan.cohorts)
    steps = _steps(plan, built, loops, longest)
    mean = lambda figure: sum(step.weight * figure(step) for step in steps)
    per_member = lambda figure: round(mean(figure) / mean(lambda step: step.trained))
    stats = compiled.memory_analysis()
    replicates = math.prod(replicate_shape(plan.replicates))
    return Cost(
        chip=None if chip is None else chip.name,
        members=sum(cohort.size for cohort in plan.cohorts),
        devices=plan.layout.devices or 1,
        width=built.width,
        steps=longest,
        kernels=round(mean(lambda step: step.traffic.kernels)),
        bytes=round(mean(lambda step: step.traffic.bytes)),
        bytes_per_member=replicates * per_member(lambda step: step.traffic.bytes),
        main_memory_bytes=round(mean(lambda step: step.traffic.main_memory_bytes)),
        floor_bytes_per_member=replicates * per_member(lambda step: step.floor),
        flops=round(mean(lambda step: sum(step.flops.values()))),
        cycles=round(mean(lambda step: step.traffic.cycles)) or None,
        resident_bytes=stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes,
        temp_bytes=stats.temp_size_in_bytes,
        seconds_at_least=None
        if chip is None
        else longest * mean(lambda step: _seconds(chip, step)),
        compile_seconds=compile_seconds,
        movers=_movers(loops, longest),
        step_collectives=dict(collectives(kernel for loop in loops for kernel in loop.kernels)),
        round_collectives=dict(round_collectives(program)),
    )


def _steps(plan: Plan, built: Program, loops: list[StepLoop], longest: int) -> list[_Step]:
    arguments = argument_shapes(plan)
    needs = {
        number: step_needs(plan, group.cohort, built.carry[group.indices[0]].population, arguments)
        for number, group in enumerate(groups(plan))
    }
    return [
        _Step(
            weight=loop.steps / longest,
            trained=loop.trained,
            traffic=total(loop.kernels),
            floor=needs[loop.training.group].bytes * loop.trained,
            flops={k: loop.trained * n for k, n in needs[loop.training.group].flops.items()},
        )
        for loop in loops
    ]


def _seconds(chip: Chip, step: _Step) -> float:
    """Returns the least time of a step. Kinds of numbers that a chip is not known for are taken for
    its slowest."""
    slowest = min(chip.flops.values())
    computing = sum(count / chip.flops.get(kind, slowest) for kind, count in step.flops.items())
    return max(step.traffic.main_memory_bytes / chip.bandwidth, computing)


def _movers(loops: list[StepLoop], longest: int) -> tuple[Mover, ...]:
    """Returns what moves the most in a step, kernels of one operation together."""
    moved, started = defaultdict[str, float](float), defaultdict[str, float](float)
    for loop in loops:
        for kernel in loop.kernels:
            own = kernel.name.rstrip(".0123456789")
            name = operation(kernel.path) or f"{own}, of the compiler's own"
            moved[name] += loop.steps / longest * kernel.bytes
            started[name] += loop.steps / longest * kernel.times
    most = sorted(moved, key=lambda name: -moved[name])[:MOVERS]
    return tuple(Mover(name, round(moved[name]), round(started[name])) for name in most)
