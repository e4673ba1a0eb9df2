"""Times vtune against plain JAX, side by side in one process.

    python scripts/bench.py            about three minutes on two cores
    python scripts/bench.py --quick    a smoke check, half a minute

A first version: what refining costs (1,000 rounds of PBT on a member of one weight), and what a
population of ONE costs beside a plain jitted scan of the same model
(784-128-128-10 MLP, AdamW, batches of 64, shuffled each epoch and scored after it), on random
data. The two are run in turn, and the ratio is taken pair by pair, so that a machine that
slows down slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vtune as vt

ROWS, BATCH = 10_000, 64
HPARAMS = {"lr": 1e-3, "weight_decay": 1e-4}


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Dense(128)(x))
        return nn.Dense(10)(x)


def xent(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def optimizer(h):
    return optax.adamw(h["lr"], weight_decay=h["weight_decay"])


def with_vtune(data: vt.Data, epochs: int) -> Callable[[], float]:
    """A whole warm `vt.tune` of one member; returns its last validation loss."""
    learner = vt.flax_learner(
        MLP(),
        optimizer=optimizer,
        loss=lambda logits, batch, h: xent(logits, batch["y"]),
        metrics={"accuracy": vt.metrics.accuracy},
    )
    space = {name: vt.Float(1e-6, 1.0, log=True) for name in HPARAMS}
    search = vt.Given([HPARAMS])
    layout = vt.Layout(chunk=1, devices=1)

    def run() -> float:
        sweep = vt.tune(
            learner, space, data, search=search, epochs=epochs, batch_size=BATCH, layout=layout
        )
        return sweep.best.score

    return run


def with_plain_jax(data: vt.Data, epochs: int) -> Callable[[], float]:
    """The same training written by hand: one jitted scan over epochs and steps."""
    model = MLP()
    steps = data.train.shape[0] // BATCH

    @jax.jit
    def train(h, arrays, train_rows, valid_rows):
        tx = optimizer(h)
        key = vt.member_key(0, 0)
        params = model.init(key, arrays["x"][:1])["params"]
        valid = {k: v[valid_rows] for k, v in arrays.items()}

        def step(carry, batch):
            params, opt_state = carry
            objective = lambda p: xent(model.apply({"params": p}, batch["x"]), batch["y"]).mean()
            loss, grads = jax.value_and_grad(objective)(params)
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        def epoch(carry, number):
            order = jax.random.permutation(jax.random.fold_in(key, number), train_rows)
            rows = order[: steps * BATCH].reshape(steps, BATCH)
            carry, losses = jax.lax.scan(step, carry, {k: v[rows] for k, v in arrays.items()})
            logits = model.apply({"params": carry[0]}, valid["x"])
            accuracy = jnp.mean(jnp.argmax(logits, -1) == valid["y"])
            return carry, (losses.mean(), xent(logits, valid["y"]).mean(), accuracy)

        _, history = jax.lax.scan(epoch, (params, tx.init(params)), jnp.arange(epochs))
        return history

    def run() -> float:
        h = {k: jnp.float32(v) for k, v in HPARAMS.items()}
        _, valid_loss, _ = train(h, data.arrays, data.train, data.valid)
        return float(valid_loss[-1])

    return run


def refining(rounds: int) -> Callable[[], float]:
    """A whole warm `vt.tune` of 32 members of one weight, PBT before every round."""
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.ones(()),
        step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
        measure=lambda key, h, x, batch, weight: x**2 / 2,
        score=lambda total: {"loss": total},
    )
    space = {"lr": vt.Float(1e-4, 1e-2, log=True)}

    def run() -> float:
        sweep = vt.tune(
            learner, space, search=vt.Halton(32), refiner=vt.PBT(), steps=rounds, rounds=rounds
        )
        assert (sweep.parents[1:] != np.arange(32)).sum() == 8 * (rounds - 1)
        return sweep.best.score

    return run


def seconds(run: Callable[[], float]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epoch, three pairs")
    parser.add_argument("--pairs", type=int, default=51)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    pairs, epochs = (3, 1) if options.quick else (options.pairs, options.epochs)

    pbt = refining(1000)
    pbt()
    took = statistics.median(seconds(pbt) for _ in range(11))
    print(f"1,000 rounds of PBT, 32 members of one weight: {took:.3f} s warm (median of 11)")

    rng = np.random.default_rng(0)
    x = rng.random((ROWS, 784), np.float32)
    data = vt.holdout({"x": x, "y": rng.integers(0, 10, ROWS)}, fraction=0.2)
    ours, plain = with_vtune(data, epochs), with_plain_jax(data, epochs)
    # They draw their rows differently, so the losses are near, not equal.
    print(f"last validation loss: vtune {ours():.4f}, plain {plain():.4f}")
    times = [(seconds(ours), seconds(plain)) for _ in range(pairs)]
    ratios = sorted(a / b for a, b in times)
    steps = epochs * (data.train.shape[0] // BATCH)
    for name, column in (("vtune, population of 1", 0), ("plain jitted scan", 1)):
        middle = statistics.median(pair[column] for pair in times)
        print(f"{name:24} {middle:7.3f} s   {1e6 * middle / steps:6.0f} us a step (median)")
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    medians = np.median(rng.choice(ratios, (2000, pairs)), axis=1)
    sure = np.percentile(medians, [2.5, 97.5])
    print(
        f"ratio vtune / plain: median {statistics.median(ratios):.3f} "
        f"(95 % bootstrap interval {sure[0]:.3f} to {sure[1]:.3f}), "
        f"middle half {low:.3f} to {high:.3f}, all {ratios[0]:.3f} to {ratios[-1]:.3f} "
        f"({pairs} pairs, {jax.devices()[0].platform})"
    )


if __name__ == "__main__":
    main()
