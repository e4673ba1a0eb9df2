"""The machine's limits, measured in the same run, and what a model needs at least."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from workloads import Workload

SIDE = 2048  # of the matrices multiplied
BYTES = 1 << 28  # of the array copied, far beyond any cache


def name() -> str:
    """The hardware, in words."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return str(device.device_kind)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return f"{model or platform.processor() or platform.machine()}, {cores} cores"


def limits(
    side: int = SIDE, size: int = BYTES, repeats: int = 5
) -> dict[str, tuple[Callable[[], Any], float]]:
    """What to time for the machine's limits, and how many FLOPs or bytes, read and written, that
    is: a large float32 product by either library, and a copy."""
    a = np.random.default_rng(0).random((side, side), np.float32)
    on_device, long = jnp.asarray(a), [jnp.zeros(size // 4, jnp.float32)]
    product = jax.jit(jnp.matmul)
    moved = jax.jit(lambda a: a + 1, donate_argnums=0)  # new memory would cost more than the copy
    runs = {
        "JAX": (lambda: product(on_device, on_device), 2.0 * side**3),
        "NumPy": (lambda: a @ a, 2.0 * side**3),
        "copy": (lambda: long.append(moved(long.pop())) or long, 2.0 * size),
    }

    def again(once: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: [jax.block_until_ready(once()) for _ in range(repeats)]

    return {name: (again(once), repeats * count) for name, (once, count) in runs.items()}


def needs(work: Workload) -> tuple[float, float]:
    """(FLOPs, bytes) of one member's training step, at least.

    FLOPs are those of the model's own products and convolutions: forward, and backward twice the
    forward, less the gradient by the input of the first. Bytes are those of a batch, read once
    for all members: a member's weights stay in cache from step to step.
    """
    x = jnp.zeros((work.batch, *work.shape), jnp.int32 if work.tokens else jnp.float32)
    variables = jax.eval_shape(lambda: work.model.init(jax.random.key(0), x, **work.mode))

    def loss(variables: Any) -> Any:
        out, _ = work.model.apply(variables, x, mutable=["batch_stats"], **work.mode)
        labels = jnp.zeros(work.batch, int)
        return optax.softmax_cross_entropy_with_integer_labels(out, labels).mean()

    flops = [cost for cost in _costs(jax.make_jaxpr(loss)(variables).jaxpr) if cost]
    first = 0.0 if work.tokens else flops[0]
    return 3 * sum(flops) - first, x.size * x.dtype.itemsize / work.members


def _costs(jaxpr: Any) -> list[float]:
    found = []
    for equation in jaxpr.eqns:
        shapes = [v.aval.shape for v in equation.invars]
        if equation.primitive.name == "dot_general":
            (contract, _), _ = equation.params["dimension_numbers"]
            inner = np.prod([shapes[0][axis] for axis in contract])
            found.append(2.0 * inner * np.prod(equation.outvars[0].aval.shape))
        elif equation.primitive.name == "conv_general_dilated":
            out_features = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
            window = np.prod(shapes[1]) / out_features
            found.append(2.0 * window * np.prod(equation.outvars[0].aval.shape))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += _costs(inner)
    return found
