"""Digits in half a minute: 256 settings of an MLP, trained as one program.

Command:   python experiments/digits.py            (or: bash scripts/demo.sh)
Data:      scikit-learn's digits, 1,797 images of 8 x 8 pixels; 20 % held out, stratified.
Searched:  learning rate, weight decay, dropout, label smoothing (traced), width (structural).
Time:      30 s on 2 CPU cores: 10 s to compile, 10 s to run 84,480 training steps
Result:    best validation accuracy 0.983 (member 48: lr 0.011, width 64; two others the same);
           the learning rate is what matters, 0.003 to 0.03 is right
Output:    runs/digits: the sweep (vt.load reads it), table.csv and figure.png
Picture:   accuracy curves of 256 members, and best accuracy against learning rate, weight decay,
           dropout, label smoothing and width: only the learning rate's has a hump
"""

from __future__ import annotations

import argparse
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from options import parse
from report import report
from sklearn.datasets import load_digits

import vtune as vt


class MLP(nn.Module):
    width: int
    dropout: jnp.ndarray

    @nn.compact
    def __call__(self, x, train: bool):
        x = x.astype(jnp.float32) / 16 - 0.5  # stays uint8 on the device
        for _ in range(2):
            x = nn.relu(nn.Dense(self.width)(x))
            x = vt.nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(10)(x)


def loss(logits, batch, h):
    targets = optax.smooth_labels(jnp.eye(10)[batch["y"]], h["smoothing"])
    return optax.softmax_cross_entropy(logits, targets)


SPACE = {
    "lr": vt.Float(1e-4, 1e-1, log=True),
    "weight_decay": vt.Float(1e-6, 1e-1, log=True),
    "dropout": vt.Float(0.0, 0.6),
    "smoothing": vt.Float(0.0, 0.2),
    "width": vt.Categorical([64, 128]),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    options = parse(parser, argv, members=2, epochs=1)

    x, y = load_digits(return_X_y=True)
    data = vt.holdout({"x": x.astype(np.uint8), "y": y}, fraction=0.2, seed=0, stratify="y")
    learner = vt.flax_learner(
        lambda h: MLP(h["width"], h["dropout"]),
        optimizer=lambda h: optax.adamw(h["lr"], weight_decay=h["weight_decay"]),
        loss=loss,
        metrics={"accuracy": vt.metrics.accuracy},
    )
    sweep = vt.tune(
        learner,
        SPACE,
        data,
        search=vt.Halton(options.members),
        epochs=options.epochs,
        batch_size=64,
        metric="accuracy",
        mode="max",
        progress=True,
    )
    report(sweep, options.out)


if __name__ == "__main__":
    vt.use_all_cores()
    main()
