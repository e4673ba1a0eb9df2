"""Plain JAX and Flax, as one writes it by hand: a loop of jitted steps, one vmapped scan, and a
program for small networks on CPU alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from workloads import Workload


def functions(work: Workload, flat: bool = False) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(init, step) of one member: init(key) -> state; step(rate, state, batch) -> state, loss.

    Args:
      flat: whether weights are kept, and stepped by Adam, as vectors.
    """
    model = work.model
    mode = work.mode

    def variables(key: Any) -> dict[str, Any]:
        x = jnp.zeros((1, *work.shape), jnp.int32 if work.tokens else jnp.float32)
        return dict(model.init(key, x, **mode))

    # Only where it is needed: the time to trace it would count in a peer's cold start.
    shapes = jax.eval_shape(variables, jax.random.key(0))["params"] if flat else None

    def init(key: Any) -> Any:
        other = variables(key)
        params = other.pop("params")
        params = jax.tree.map(jnp.ravel, params) if flat else params
        return params, other, optax.adam(0.0).init(params)

    def step(rate: Any, state: Any, batch: Any) -> Any:
        params, other, opt_state = state
        x, y = batch

        def loss(params: Any) -> Any:
            if flat:
                params = jax.tree.map(lambda a, own: a.reshape(own.shape), params, shapes)
            out, changed = model.apply({"params": params, **other}, x, mutable=list(other), **mode)
            return optax.softmax_cross_entropy_with_integer_labels(out, y).mean(), changed

        (value, other), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optax.adam(rate).update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), other, opt_state), value

    return init, step


def batches(work: Workload) -> Any:
    """[steps, batch, ...] rows and labels, on the device."""
    x, y = work.data()
    cut = lambda a: jnp.asarray(a[work.batch :].reshape(work.steps, work.batch, *a.shape[1:]))
    return cut(x), cut(y)


def vmapped_scan(work: Workload) -> Callable[[Any, Any], Any]:
    """(rates, batches) -> losses, the whole population initialised and trained; to be jitted."""
    init, step = functions(work)

    def train(rates: Any, data: Any) -> Any:
        def one(key: Any, rate: Any) -> Any:
            one_step = lambda state, batch: step(rate, state, batch)
            epoch = lambda state, _: jax.lax.scan(one_step, state, data)
            if work.epochs == 1:
                return epoch(init(key), None)
            return jax.lax.scan(epoch, init(key), length=work.epochs)

        keys = jax.random.split(jax.random.key(0), rates.shape[0])
        return jax.vmap(one)(keys, rates)[1]

    return train


def plain(work: Workload) -> tuple[Callable[[], Any], int]:
    """jit(vmap(scan)) over the whole population. Returns what to time, and member-steps."""
    steps = min(work.plain_steps or work.steps, work.steps)
    data = jax.tree.map(lambda a: a[:steps], batches(work))
    rates, train = jnp.asarray(work.rates()), jax.jit(vmapped_scan(work))
    count = work.members * steps * work.epochs
    return lambda: jax.block_until_ready(train(rates, data)), count


def by_hand(work: Workload) -> tuple[Callable[[], Any], int]:
    """What one may come to for a small network on CPU: a part of the population on every core, one
    member after the other, weights flat; initialised and trained, and nothing else done."""
    init, step = functions(work, flat=True)
    used = math.gcd(work.members, jax.device_count())
    devices = jax.devices()[:used]
    mesh = jax.make_mesh((used,), ("all",), axis_types=(AxisType.Auto,), devices=devices)
    x, y = jax.device_put(batches(work), NamedSharding(mesh, P()))
    rates = jax.device_put(work.rates(), NamedSharding(mesh, P("all")))

    def train(rates: Any, x: Any, y: Any) -> Any:
        def one(rate: Any) -> Any:
            one_step = lambda i, state: step(rate, state, (x[i], y[i]))[0]
            return jax.lax.fori_loop(0, work.steps, one_step, init(jax.random.key(0)))[0]

        return jax.lax.map(one, rates)

    specs = {"in_specs": (P("all"), P(), P()), "out_specs": P("all")}
    train = jax.jit(jax.shard_map(train, mesh=mesh, check_vma=False, **specs))
    return lambda: jax.block_until_ready(train(rates, x, y)), work.members * work.steps


def loop(work: Workload) -> tuple[Callable[[], Any], int]:
    """A Python loop over jitted steps, one member after the other; two members are timed."""
    init, step = functions(work)
    x, y = batches(work)
    pieces = [(x[i], y[i]) for i in range(work.steps)]
    first, jitted = jax.jit(init), jax.jit(step, donate_argnums=1)
    rates = [jnp.float32(rate) for rate in work.rates()[:2]]

    def run() -> None:
        for number, rate in enumerate(rates):
            state = first(jax.random.key(number))
            for piece in pieces:
                state, _ = jitted(rate, state, piece)
            jax.block_until_ready(state)

    return run, len(rates) * work.steps
