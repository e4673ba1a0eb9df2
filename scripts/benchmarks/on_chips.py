"""What is compiled for chips that are not there: vtune's sweeps, and beside each the plain vmapped
scan of the same workload. Run by `accelerators.py`, in a process of its own for each chip:

    PYTHONPATH=experiments python scripts/benchmarks/on_chips.py v5e MLP-32

It prints one line of JSON a case.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import lora_text
import numpy as np
import ours
from jax_peers import vmapped_scan
from workloads import WORKLOADS, Workload

import vtune as vt
from vtune import target
from vtune.costing import chips, program_text, traffic


@dataclass(frozen=True)
class Case:
    """A sweep that is compiled.

    Attributes:
      options: (workload) -> arguments of `vt.cost` in the place of those of `ours.sweep`.
      devices: by chip, how many of them; 1 where it is not said. Each has `work.members`.
      beside: whether the plain scan is compiled, too.
      chips: those that it is compiled for.
    """

    work: Workload
    options: Callable[[Workload], dict[str, Any]] = lambda work: {}
    devices: dict[str, int] = field(default_factory=dict)
    beside: bool = False
    chips: tuple[str, ...] = ("h200", "v5e")


def _of(name: str, members: int) -> Workload:
    return replace(WORKLOADS[name], members=members)


def _plainly(name: str, members: int) -> tuple[str, Case]:
    return f"{name} × {members:,}", Case(_of(name, members), beside=True)


def _in_bfloat16(name: str, members: int) -> tuple[str, Case]:
    work = _of(name, members)
    half = replace(work, model=work.model.clone(dtype=jnp.bfloat16))
    return f"{name} in bfloat16 × {members:,}", Case(half, beside=True)


def _drawn(members: int, **options: Any) -> dict[str, Any]:
    return {"search": vt.Halton(members), **options}


def _folds(work: Workload) -> dict[str, Any]:
    x, y = work.data()
    return _drawn(work.members, data=vt.kfold({"x": x, "y": y}, 4), seeds=4)


def _given(work: Workload) -> dict[str, Any]:
    """Weights that the members share, whole or in part."""
    x, _ = work.data()
    drawn = jax.jit(work.model.init)(jax.random.key(0), x[:1])
    return {"init_from": jax.tree.map(np.asarray, drawn)}


def _head(work: Workload) -> dict[str, Any]:
    last = max(_given(work)["init_from"]["params"])
    return _given(work) | {"frozen": (ALL_BUT, [f"^{last}/"])}


def _adapters(work: Workload) -> dict[str, Any]:
    learner = ours.sweep(work)["learner"]
    return _given(work) | {"learner": vt.lora.adapt(learner, rank=8)}


def _messages(blocks: int, members: int) -> Case:
    """The sweep of `experiments/lora_text.py --large`, which has six blocks: members that adapt one
    pretrained network to 8 messages a batch. Weights and messages are random, since programs do not
    depend on them. A TPU's compiler takes too long for six blocks."""
    sizes = {"width": 256, "layers": blocks}
    work = Workload("messages", lora_text.Judge(**sizes), 8, members, 24, (lora_text.LENGTH,))

    def options(work: Workload) -> dict[str, Any]:
        x, y = work.data()
        x, y = (255 * x).astype(np.uint8), y % 2
        rows = lambda part: {"x": x[part], "y": y[part]}
        data = vt.from_splits(rows(slice(work.batch, None)), rows(slice(0, work.batch)))
        drawn = jax.jit(work.model.init)(jax.random.key(0), x[:1])["params"]
        weights = {"body": jax.tree.map(np.asarray, drawn["body"])}
        return lora_text.tuned(lora_text.Task(sizes, weights, data, work.members, 1, work.steps))

    return Case(work, options, chips=("h200", "v5e") if blocks < 6 else ("h200",))


ALL_BUT = "all but"
FROZEN = {
    f"{title}, {name} × {members}": Case(_of(name, members), options)
    for title, name, options in (
        ("a head alone", "MLP-256", _head),
        ("adapters of rank 8", "Transformer", _adapters),
    )
    for members in (8, 32, 128)
} | {
    f"adapters, {title} × {members}": _messages(blocks, members)
    for title, blocks in (("4.8 M weights", 6), ("1.7 M weights", 2))
    for members in (1, 8, 32)
}
CASES = dict(
    [
        _plainly("MLP-32", 1024),
        _plainly("MLP-128", 256),
        _plainly("MLP-128", 1024),
        _plainly("MLP-256", 256),
        _plainly("CNN", 64),
        _plainly("ResNet", 16),
        _plainly("Transformer", 32),
        _in_bfloat16("MLP-128", 256),
        _in_bfloat16("CNN", 64),
    ]
) | {
    "PBT, MLP-128 × 256": Case(
        _of("MLP-128", 256), lambda work: {"refiner": vt.PBT(), "rounds": 10}
    ),
    "PBT, MLP-128 × 256 a chip": Case(
        _of("MLP-128", 256),
        lambda work: {"refiner": vt.PBT(), "rounds": 10},
        {"h200": 8, "v5e": 16},
    ),
    "halving, MLP-128 × 256": Case(
        _of("MLP-128", 256), lambda work: {"refiner": vt.Halving(4), "rounds": 10}
    ),
    "4 folds × 4 seeds, MLP-32 × 64": Case(_of("MLP-32", 64), _folds),
    **FROZEN,
}


def ours_on(case: Case, chip: str) -> dict[str, Any]:
    """What `vt.cost` says."""
    devices = case.devices.get(chip, 1)
    work = replace(case.work, members=case.work.members * devices)
    found = vt.cost(**(ours.sweep(work) | case.options(work)), chip=chip, devices=devices)
    return found.to_dict()


def plain_on(case: Case, chip: str) -> dict[str, Any]:
    """The same figures of `jit(vmap(scan))`, as far as they are its own."""
    work, own = case.work, chips.chip_named(chip)
    devices = chips.devices_of(own, 1)
    shape = lambda a: jax.ShapeDtypeStruct((work.steps, work.batch, *a.shape[1:]), a.dtype)
    data = tuple(map(shape, work.data()))
    rates = jax.ShapeDtypeStruct((work.members,), np.float32)
    mesh = jax.sharding.Mesh(np.array(devices), ("all",))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    call = jax.jit(vmapped_scan(work), in_shardings=whole, out_shardings=whole)
    with target.compiling_for(devices):
        lowered = call.trace(rates, data).lower(lowering_platforms=target.lowering_platforms())
    began = time.perf_counter()
    compiled = lowered.compile(compiler_options=dict(own.options))
    seconds = time.perf_counter() - began
    program = program_text.parse(compiled.as_text())
    loop = traffic.hottest(program)
    assert loop is not None
    moved = traffic.total(traffic.kernels(program, loop.body))
    return {
        "kernels": moved.kernels,
        "bytes": moved.bytes,
        "bytes_per_member": round(moved.bytes / work.members),
        "main_memory_bytes": moved.main_memory_bytes,
        "cycles": moved.cycles or None,
        "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "compile_seconds": seconds,
    }


def main(chip: str, names: list[str]) -> None:
    for name, case in CASES.items():
        exactly = [wanted for wanted in names if wanted in CASES]
        parts = [wanted for wanted in names if wanted not in CASES]
        if names and name not in exactly and not any(part in name for part in parts):
            continue
        if chip not in case.chips:
            continue
        row: dict[str, Any] = {}
        sides = {"vtune": ours_on} | ({"plain": plain_on} if case.beside else {})
        for side, measure in sides.items():
            try:
                row[side] = measure(case, chip)
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                row[side] = {"failed": str(error).splitlines()[0]}
        print(json.dumps({"case": name, "chip": chip, **row}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
