"""Processor time to the first scores of two members, by vtune and by a plain loop.

    python scripts/benchmarks/first_result.py            a table of ten models, and of halving
    python scripts/benchmarks/first_result.py CNN flow --turns 5

The plain loop is what one writes for it: jitted initialisation, jitted steps in a scan, jitted
scores of the validation rows, each vmapped over the two members. Both take six steps and score six
batches, so that nearly all of the time is tracing and compiling. `halving` is `vt.Halton(1000)`
with `vt.Halving()` and 9 rounds, whose plain loop is plain search over two members.

Every run has a process of its own, without a compilation cache, and both take turns. Processor time
is that of all threads from the end of the imports on, programs are counted by JAX's own events.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

EVENTS = {"compiled": "backend_compile", "traced": "jaxpr_trace", "lowered": "jaxpr_to_mlir_module"}
RATES = (1e-3, 2e-3)
HALVING = "halving"


def plain(name: str) -> list[float]:
    """The scores of two members after an epoch, by a loop of one's own."""
    import architectures
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    case = architectures.CASES["MLP" if name == HALVING else name]
    rows, size = architectures.ROWS, architectures.BATCH
    arrays = case.arrays
    train = {k: v[:rows].reshape(-1, size, *v.shape[1:]) for k, v in arrays.items()}
    valid = {k: v[rows:].reshape(-1, size, *v.shape[1:]) for k, v in arrays.items()}
    classifies = case.loss is architectures.classified

    def apply(params: Any, other: Any, key: Any, batch: Any, mode: bool) -> Any:
        rngs = {case.stream: key} if mode and case.stream else {}
        told = dict.fromkeys(case.mode, mode)
        variables, mutable = {"params": params, **other}, list(other) if mode else []
        return case.model.apply(variables, batch["x"], rngs=rngs, mutable=mutable, **told)

    @jax.jit
    @jax.vmap
    def init(key: Any, rate: Any) -> Any:
        told = dict.fromkeys(case.mode, False)
        other = case.model.init({"params": key, "noise": key}, train["x"][0], **told)
        params = other.pop("params")
        return params, other, optax.adamw(rate).init(params)

    @jax.jit
    def trained(keys: Any, rates: Any, states: Any, train: Any, order: Any) -> Any:
        def one(key: Any, rate: Any, state: Any) -> Any:
            def step(state: Any, i: Any) -> Any:
                params, other, opt_state = state
                batch = jax.tree.map(lambda leaf: leaf[order[i]], train)

                def loss(params: Any) -> Any:
                    own = jax.random.fold_in(key, i)
                    outputs, changed = apply(params, other, own, batch, True)
                    return case.loss(outputs, batch).mean(), changed

                (value, other), grads = jax.value_and_grad(loss, has_aux=True)(params)
                updates, opt_state = optax.adamw(rate).update(grads, opt_state, params)
                return (optax.apply_updates(params, updates), other, opt_state), value

            return jax.lax.scan(step, state, jnp.arange(len(order)))

        return jax.vmap(one)(keys, rates, states)

    @jax.jit
    def scored(states: Any, valid: Any) -> Any:
        def one(state: Any) -> Any:
            params, other, _ = state

            def totals(sums: Any, batch: Any) -> Any:
                outputs, _ = apply(params, other, None, batch, False)
                values = case.loss(outputs, batch)
                right = (outputs.argmax(-1) == batch["y"]).mean() if classifies else 0.0
                return (sums[0] + values.mean(), sums[1] + right), None

            (loss, right), _ = jax.lax.scan(totals, (0.0, 0.0), valid)
            return loss / len(valid["x"]), right / len(valid["x"])

        return jax.vmap(one)(states)

    rates = np.asarray(RATES, np.float32)
    keys = jax.random.split(jax.random.key(0), len(rates))
    states = init(keys, rates)
    order = np.random.default_rng(0).permutation(len(train["x"]))
    states, _ = trained(keys, rates, states, train, order)
    return list(map(float, jax.device_get(scored(states, valid))[0]))


def ours(name: str) -> list[float]:
    """The scores of two members after an epoch, by vtune; of all, if this is halving."""
    import architectures
    import optax

    import vtune as vt

    case = architectures.CASES["MLP" if name == HALVING else name]
    rows, arrays = architectures.ROWS, case.arrays
    part = lambda which: {k: v[which] for k, v in arrays.items()}
    classifies = case.loss is architectures.classified
    learner = vt.flax_learner(
        case.model,
        optimizer=lambda h: optax.adamw(h["lr"]),
        loss=lambda outputs, batch, h: case.loss(outputs, batch),
        metrics={"accuracy": vt.metrics.accuracy} if classifies else {},
    )
    more: dict[str, Any] = {"search": vt.Given([{"lr": rate} for rate in RATES]), "epochs": 1}
    if name == HALVING:
        more = {"search": vt.Halton(1000), "refiner": vt.Halving(), "epochs": 9}
    sweep = vt.tune(
        learner,
        {"lr": vt.Float(1e-4, 1e-2, log=True)},
        vt.from_splits(part(slice(0, rows)), part(slice(rows, None))),
        batch_size=architectures.BATCH,
        eval_batch_size=architectures.BATCH,
        metric="loss",
        mode="min",
        progress=False,
        **more,
    )
    return list(map(float, sweep.history["loss"][-1]))


WAYS = {"vtune": ours, "plain": plain}


def measured(way: str, name: str) -> dict[str, Any]:
    """Processor time in this process, programs, seconds of compiling them, and the scores."""
    import jax

    seconds: dict[str, list[float]] = {what: [] for what in EVENTS}

    def note(event: str, duration: float, **_: Any) -> None:
        for what, part in EVENTS.items():
            if event.split("/")[-1] == f"{part}_duration":
                seconds[what].append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    wall, processor = time.perf_counter(), time.process_time()
    scores = WAYS[way](name)
    return {
        "processor": time.process_time() - processor,
        "wall": time.perf_counter() - wall,
        "programs": len(seconds["compiled"]),
        **{f"{what} s": sum(times) for what, times in seconds.items()},
        "scores": scores,
    }


def in_process(way: str, name: str) -> dict[str, Any]:
    """What is measured in a process of its own."""
    env = {**os.environ, "VTUNE_CACHE_DIR": "off", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, __file__, name, "--way", way]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(found: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """The medians of all turns as a Markdown table."""
    lines = [
        "| model | vtune, s | plain, s | times | XLA, s | | programs | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ratios = []
    for name, runs in found.items():
        of = lambda way, what, runs=runs: statistics.median(run[what] for run in runs[way])
        ratio = of("vtune", "processor") / of("plain", "processor")
        ratios += [] if name == HALVING else [ratio]
        cells = [
            *(f"{of(way, 'processor'):.1f}" for way in WAYS),
            f"{ratio:.2f}",
            *(f"{of(way, 'compiled s'):.1f}" for way in WAYS),
            *(f"{of(way, 'programs'):.0f}" for way in WAYS),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if len(ratios) > 1:
        lines.append(f"| median | | | {statistics.median(ratios):.2f} | | | | |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of models; all, and halving, if left out")
    parser.add_argument("--way", choices=WAYS, help="one way, in this process")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args(argv)
    if options.way:
        import jax

        import vtune  # noqa: F401 (imports are not what is measured)

        jax.devices()
        print(json.dumps(measured(options.way, *options.names)))
        return

    import architectures

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in options.names or [*architectures.CASES, HALVING]:
        runs = found[name] = {way: [] for way in WAYS}
        for _ in range(options.turns):
            for way in WAYS:
                runs[way].append(in_process(way, name))
                print(name, way, runs[way][-1], file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
