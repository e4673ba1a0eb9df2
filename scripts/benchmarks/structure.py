"""A sweep over many structural choices, cold, against a Python loop over the combinations.

    python scripts/benchmarks/structure.py            54 combinations, six minutes on two cores
    python scripts/benchmarks/structure.py --quick    2 of them, a smoke check

Batch size {32, 64, 128} x width {32, 64, 128} x activation {relu, tanh, gelu} x optimizer {sgd,
adam}, 8 learning rates each: 432 MLPs on scikit-learn's digits, 10 epochs, scored after each. Every
way runs in a process of its own, with no compilation cache, from the end of the imports to the last
score (with --quick all in this process):

    sweep     vtune, one program
    loop      a loop over the combinations, each `jit(vmap(train))`: initialise, scan, score
    shared    the same loop, whose weights are initialised by a function jitted once a width
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CHOICES: dict[str, list[Any]] = {
    "batch_size": [32, 64, 128],
    "width": [32, 64, 128],
    "activation": ["relu", "tanh", "gelu"],
    "optimizer": ["sgd", "adam"],
}
QUICK = {name: values[: 2 if name == "optimizer" else 1] for name, values in CHOICES.items()}
RATES, EPOCHS, LOW, HIGH = 8, 10, 1e-3, 1e-1
WAYS = ("sweep", "loop", "shared")


def parts() -> dict[str, Any]:
    """The data and the model that all take."""
    import flax.linen as nn
    import optax
    from sklearn.datasets import load_digits

    import vtune as vt

    functions = {"relu": nn.relu, "tanh": nn.tanh, "gelu": nn.gelu}

    class MLP(nn.Module):
        width: int
        activation: str

        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(10)(functions[self.activation](nn.Dense(self.width)(x)))

    x, y = load_digits(return_X_y=True)
    arrays = {"x": (x / 16).astype("float32"), "y": y}
    optimizers = {"sgd": functools.partial(optax.sgd, momentum=0.9), "adam": optax.adam}
    data = vt.holdout(arrays, fraction=0.2, seed=0, stratify="y")
    return {"MLP": MLP, "optimizers": optimizers, "data": data}


def sweep(choices: dict[str, list[Any]]) -> float:
    """The best accuracy, by vtune."""
    import optax

    import vtune as vt

    own = parts()
    learner = vt.flax_learner(
        lambda h: own["MLP"](h["width"], h["activation"]),
        optimizer=lambda h: own["optimizers"][h["optimizer"]](h["lr"]),
        loss=lambda out, batch, h: optax.softmax_cross_entropy_with_integer_labels(out, batch["y"]),
        metrics={"accuracy": vt.metrics.accuracy},
    )
    structure = {name: vt.Categorical(values) for name, values in choices.items()}
    done = vt.tune(
        learner,
        {"lr": vt.Float(LOW, HIGH, log=True), **structure},
        own["data"],
        search=vt.Grid({"lr": RATES}),
        epochs=EPOCHS,
        batch_size=lambda h: h["batch_size"],
        metric="accuracy",
    )
    return done.best.score


def loop(choices: dict[str, list[Any]], shared: bool = False) -> float:
    """The best accuracy, by a loop over the combinations."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    own = parts()
    data, xent = own["data"], optax.softmax_cross_entropy_with_integer_labels
    train_rows, valid_rows = np.asarray(data.train), np.asarray(data.valid)
    x, y = data.arrays["x"][train_rows], data.arrays["y"][train_rows]
    x_valid, y_valid = data.arrays["x"][valid_rows], data.arrays["y"][valid_rows]
    keys = jax.random.split(jax.random.key(0), RATES)
    rates = jnp.logspace(np.log10(LOW), np.log10(HIGH), RATES)
    rng = np.random.default_rng(0)

    @functools.cache
    def initial(width: int) -> Any:
        model = own["MLP"](width, "relu")
        return jax.jit(jax.vmap(lambda key: model.init(key, x[:1])))(keys)

    def trained(batch_size: int, width: int, activation: str, optimizer: str) -> Any:
        model = own["MLP"](width, activation)

        def train(start: Any, rate: Any, train: Any, valid: Any, rows: Any) -> Any:
            (x, y), (x_valid, y_valid) = train, valid
            transformation = own["optimizers"][optimizer](rate)
            params = start if shared else model.init(start, x[:1])

            def step(state: Any, rows: Any) -> Any:
                params, opt_state = state
                value, grads = jax.value_and_grad(
                    lambda p: xent(model.apply(p, x[rows]), y[rows]).mean()
                )(params)
                updates, opt_state = transformation.update(grads, opt_state, params)
                return (optax.apply_updates(params, updates), opt_state), value

            def epoch(state: Any, rows: Any) -> Any:
                state, values = jax.lax.scan(step, state, rows)
                out = model.apply(state[0], x_valid)
                accuracy = (out.argmax(-1) == y_valid).mean()
                return state, (values.mean(), accuracy, xent(out, y_valid).mean())

            return jax.lax.scan(epoch, (params, transformation.init(params)), rows)

        steps = len(x) // batch_size
        orders = [rng.permutation(len(x))[: steps * batch_size] for _ in range(EPOCHS)]
        rows = np.stack(orders).reshape(EPOCHS, steps, batch_size)
        run = jax.jit(jax.vmap(train, in_axes=(0, 0, None, None, None)))
        start = initial(width) if shared else keys
        return jax.block_until_ready(run(start, rates, (x, y), (x_valid, y_valid), rows))

    best = 0.0
    for combination in itertools.product(*choices.values()):
        _, (_, accuracy, _) = trained(*combination)
        best = max(best, float(accuracy[:, -1].max()))
    return best


def timed(way: str, quick: bool) -> tuple[float, float]:
    """(seconds, best accuracy) of a way, in this process."""
    runs: dict[str, Callable[..., float]] = {
        "sweep": sweep,
        "loop": loop,
        "shared": functools.partial(loop, shared=True),
    }
    began = time.perf_counter()
    best = runs[way](QUICK if quick else CHOICES)
    return time.perf_counter() - began, best


def in_process(way: str, quick: bool = False) -> tuple[float, float]:
    """(seconds, best accuracy) of a way, in a process of its own."""
    command = [sys.executable, __file__, way, *(["--quick"] if quick else [])]
    env = {**os.environ, "VTUNE_CACHE_DIR": "off"}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    took, best = json.loads(done.stdout.splitlines()[-1])
    return took, best


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", nargs="?", choices=WAYS, help="one way, in this process")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(argv)
    if options.way is None:
        found = {way: (timed if options.quick else in_process)(way, options.quick) for way in WAYS}
        print("| way | seconds | times the sweep | best accuracy |\n|---|---|---|---|")
        for way, (took, best) in found.items():
            print(f"| {way} | {took:.1f} | {took / found['sweep'][0]:.2f} | {best:.4f} |")
        return

    import vtune as vt

    if options.way == "sweep":
        vt.use_all_cores()
    import jax

    jax.devices()
    print(json.dumps(timed(options.way, options.quick)))


if __name__ == "__main__":
    main()
