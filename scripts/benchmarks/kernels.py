"""The parts of an MLP's training step one by one, on every core at once: what XLA's own kernels
come to, each part alone with its operands in cache, and in the quickest of a few forms.

A program made of these kernels can hardly take less than their sum, however it orders them: nothing
here stands for a loss, an activation, a bias, or for starting one kernel after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from workloads import Workload

from vtune.xla.ops.rewrite import rewrite_update

ABREAST = 4  # members in one product with the first layer's rows, which all of them share
FLOPS = 2e9  # what a loop of products computes at least
NUMBERS = 1e8  # what another loop goes through at least

Forms = dict[str, tuple[Callable[[], Any], float]]


def kernels(work: Workload, share: float = 1.0) -> dict[str, Forms]:
    """By part of a step its forms: what to time, and member-steps.

    Args:
      share: of the usual work, less of which shows only that the code runs.
    """
    widths = [int(np.prod(work.shape)), *work.model.widths, 10]
    found: dict[str, Forms] = {}
    for layer, (a, b) in enumerate(itertools.pairwise(widths)):
        forms: Forms = {}
        for members in (1, ABREAST) if layer == 0 else (1,):
            forms |= _products(work.batch, a, b, members, layer == 0, share)
        found[f"products of layer {layer}"] = forms
    weights = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    return found | {"Adam": {"flat": _adam(weights, share)}, "batch": {"copy": _copy(work, share)}}


def least(times: dict[tuple[str, str], Sequence[float]]) -> list[float]:
    """Turn by turn the sum over the parts, each in the form that is quickest in that turn."""
    quickest: dict[str, list[float]] = {}
    for (part, _), own in times.items():
        before = quickest.get(part, own)
        quickest[part] = [min(pair) for pair in zip(before, own, strict=True)]
    return [sum(turn) for turn in zip(*quickest.values(), strict=True)]


def _products(batch: int, a: int, b: int, members: int, first: bool, share: float) -> Forms:
    """A dense layer's products, forward and of both gradients (of the weights alone in the first
    layer), with the rows as they are or transposed for either.

    They stand in one loop, free to run side by side: some of XLA's kernels share a product out
    among threads, and leave a core idle when nothing else is to do.
    """
    rng = np.random.default_rng(0)
    shapes = (batch, a), (a, batch), (a, b * members), (batch, b * members)
    operands = [rng.random(shape, np.float32) for shape in shapes]
    steps = int(share * FLOPS / (2 * batch * a * b * members)) + 1

    def form(forward: str, gradient: str) -> Callable[..., Any]:
        def run(*operands: Any) -> Any:
            def products(rows: Any, columns: Any, weights: Any, grads: Any) -> tuple[Any, ...]:
                return (
                    (rows if forward == "rows" else columns.T) @ weights,
                    (rows.T if gradient == "rows" else columns) @ grads,
                    *(() if first else (grads @ weights.T,)),
                )

            def step(i: Any, carry: Any) -> Any:
                # Tied to the loop's number, so that nothing leaves the loop; copies nothing.
                operands, _, _ = jax.lax.optimization_barrier((*carry, i))
                return operands, products(*operands)

            return jax.lax.fori_loop(0, steps, step, (operands, products(*operands)))[1]

        return run

    return {
        f"{members} fused, forward {forward}, gradient {gradient}": _timed(
            form(forward, gradient), operands, members * steps
        )
        for forward, gradient in itertools.product(("rows", "columns"), repeat=2)
    }


def _adam(weights: int, share: float) -> tuple[Callable[[], Any], float]:
    """One vector of all weights, divided as vtune does."""
    steps = int(share * NUMBERS / weights) + 1
    optimizer = optax.adam(1e-3)
    update = rewrite_update(optimizer.update)

    def run(params: Any, grads: Any) -> Any:
        def step(i: Any, carry: Any) -> Any:
            params, state, grads = carry
            grads, _ = jax.lax.optimization_barrier((grads, i))
            updates, state = update(grads, state, params)
            return optax.apply_updates(params, updates), state, grads

        return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params), grads))[0]

    rng = np.random.default_rng(0)
    return _timed(run, [rng.random(weights, np.float32), rng.random(weights, np.float32)], steps)


def _copy(work: Workload, share: float) -> tuple[Callable[[], Any], float]:
    """A batch out of the rows of all steps, into an array of its own."""
    x = work.data()[0][work.batch :].reshape(work.steps, work.batch, -1)
    rounds = int(share * NUMBERS / x.size) + 1

    def run(x: Any, batch: Any) -> Any:
        step = lambda i, _: jax.lax.dynamic_index_in_dim(x, i % work.steps, keepdims=False)
        return jax.lax.fori_loop(0, rounds * work.steps, step, batch)

    return _timed(run, [x, x[0]], rounds * work.steps)


def _timed(
    run: Callable[..., Any], arrays: Sequence[np.ndarray], count: int
) -> tuple[Callable[[], Any], float]:
    """The loop on every device at once, each with arrays of its own."""
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("all",), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, P("all"))
    held = [jax.device_put(np.concatenate([a] * devices), spread) for a in arrays]

    def on_each(*arrays: Any) -> Any:
        return jax.tree.map(lambda a: a[None], run(*arrays))

    specs = {"in_specs": P("all"), "out_specs": P("all")}
    compiled = jax.jit(jax.shard_map(on_each, mesh=mesh, check_vma=False, **specs))
    return lambda: jax.block_until_ready(compiled(*held)), count * devices
