"""The tasks: five data sets of scikit-learn's, four networks and spaces for each."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import numpy as np
import optax
from sklearn import datasets

import vtune as vt

ROUNDS = 18  # halving and Hyperband cut after 2 and 6 of them
STEPS = 6 * ROUNDS
BATCH = 32
FULL = 256  # trainings that every method may spend


@dataclass(frozen=True, eq=False)  # its programs are kept by identity
class Task:
    """What is searched: one learner on one data set, judged by its loss on the validation rows.

    Attributes:
      steps, rounds: of a whole training. full: whole trainings that a method may spend.
    """

    name: str
    learner: vt.Learner
    space: dict[str, Any]
    data: vt.Data | None
    steps: int = STEPS
    rounds: int = ROUNDS
    full: int = FULL

    @property
    def choices(self) -> dict[str, Any]:
        """The structural hyperparameters."""
        return {k: v for k, v in self.space.items() if isinstance(v, vt.Categorical)}

    @property
    def cohorts(self) -> int:
        return int(np.prod([len(choice.choices) for choice in self.choices.values()]))

    def tune(self, **changes: Any) -> vt.Sweep:
        """A sweep of this task; what is given goes to `vt.tune` instead."""
        arguments = {
            "space": self.space,
            "steps": self.steps,
            "rounds": self.rounds,
            "batch_size": BATCH,
            "progress": False,
        }
        arguments |= changes
        return vt.tune(self.learner, arguments.pop("space"), self.data, **arguments)

    def tested(self, sweep: vt.Sweep) -> float:
        """The best member's loss on the test rows; NaN where there are none."""
        if self.data is None:
            return math.nan
        return float(sweep.evaluate()["loss"][sweep.best.index])


class MLP(nn.Module):
    """Hidden layers with dropout before each; linear where there are none."""

    outputs: int
    widths: tuple[int, ...] = ()
    activation: Callable[[Any], Any] = nn.relu
    dropout: Any = 0.0
    input_dropout: Any = 0.0

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        if self.widths:
            x = vt.nn.Dropout(self.input_dropout)(x, deterministic=not train)
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
            x = vt.nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(self.outputs)(x)


@functools.cache
def data_of(name: str) -> tuple[vt.Data, int]:
    """The rows of a data set, split always alike, and how many outputs it takes."""
    loaders = {
        "digits": (datasets.load_digits, 0.2, 0.5),
        "breast cancer": (datasets.load_breast_cancer, 0.3, 0.3),
        "diabetes": (datasets.load_diabetes, 0.3, 0.3),
        "wine": (datasets.load_wine, 0.3, 0.3),
        "iris": (datasets.load_iris, 0.3, 0.3),
    }
    load, fraction, test = loaders[name]
    x, y = load(return_X_y=True)
    if name == "diabetes":
        arrays = {"x": x, "y": y[:, None].astype(np.float32)}
        data = vt.holdout(arrays, fraction=fraction, test=test, seed=0)
        return vt.standardize(data, "x", "y"), 1
    arrays = {"x": x, "y": y.astype(np.int32)}
    data = vt.holdout(arrays, fraction=fraction, test=test, seed=0, stratify="y")
    return vt.standardize(data, "x"), int(y.max()) + 1


def loss_of(outputs: int) -> Callable[..., Any]:
    if outputs == 1:
        return lambda out, batch, h: optax.squared_error(out, batch["y"])[:, 0]
    return lambda out, batch, h: optax.softmax_cross_entropy_with_integer_labels(out, batch["y"])


def linear(outputs: int) -> tuple[vt.Learner, dict[str, Any]]:
    """A linear model: rate, L2, momentum."""
    learner = vt.flax_learner(
        lambda h: MLP(outputs),
        optimizer=lambda h: optax.sgd(h["lr"], h["momentum"]),
        loss=loss_of(outputs),
        penalty=lambda params, h: vt.penalties.l2(params, h["l2"], only="kernel"),
    )
    space = {
        "lr": vt.Float(1e-4, 1.0, log=True),
        "l2": vt.Float(1e-6, 1.0, log=True),
        "momentum": vt.Float(0.0, 0.99),
    }
    return learner, space


def mlp(outputs: int, **parts: Any) -> tuple[vt.Learner, dict[str, Any]]:
    """An MLP: rate, weight decay, momentum, dropout."""
    learner = vt.flax_learner(
        lambda h: MLP(outputs, (32,), nn.relu, h["dropout"]),
        optimizer=lambda h: optax.chain(
            optax.add_decayed_weights(h["weight_decay"]),
            optax.sgd(h["lr"], h["momentum"], nesterov=True),
        ),
        loss=loss_of(outputs),
        **parts,
    )
    space = {
        "lr": vt.Float(1e-4, 1.0, log=True),
        "weight_decay": vt.Float(1e-6, 1e-1, log=True),
        "momentum": vt.Float(0.0, 0.99),
        "dropout": vt.Float(0.0, 0.7),
    }
    return learner, space


ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}


def shapes(outputs: int) -> tuple[vt.Learner, dict[str, Any]]:
    """An MLP whose width and activation are structural, by AdamW."""
    learner = vt.flax_learner(
        lambda h: MLP(outputs, (h["width"],), ACTIVATIONS[h["activation"]], h["dropout"]),
        optimizer=lambda h: optax.adamw(h["lr"], weight_decay=h["weight_decay"]),
        loss=loss_of(outputs),
    )
    space = {
        "lr": vt.Float(1e-4, 1e-1, log=True),
        "weight_decay": vt.Float(1e-4, 10.0, log=True),
        "dropout": vt.Float(0.0, 0.7),
        "width": vt.Categorical([8, 64]),
        "activation": vt.Categorical(["relu", "tanh"]),
    }
    return learner, space


def wide(outputs: int) -> tuple[vt.Learner, dict[str, Any]]:
    """Eight hyperparameters: the optimizer is structural; schedule, noise and clipping traced."""

    def optimizer(h: Any) -> Any:
        rate = vt.schedules.cosine(
            h["lr"], h["total_steps"], warmup=h["warmup"] * h["total_steps"], end=h["end"] * h["lr"]
        )
        kinds = {"adam": optax.scale_by_adam, "momentum": lambda: optax.trace(0.9)}
        return optax.chain(
            optax.clip_by_global_norm(h["clip"]),
            kinds[h["optimizer"]](),
            optax.add_decayed_weights(h["weight_decay"]),
            optax.scale_by_learning_rate(rate),
        )

    learner = vt.flax_learner(
        lambda h: MLP(outputs, (32,), nn.relu, h["dropout"], h["input_dropout"]),
        optimizer=optimizer,
        loss=loss_of(outputs),
    )
    space = {
        "lr": vt.Float(1e-4, 1.0, log=True),
        "weight_decay": vt.Float(1e-5, 1.0, log=True),
        "dropout": vt.Float(0.0, 0.7),
        "input_dropout": vt.Float(0.0, 0.5),
        "warmup": vt.Float(0.0, 0.5),
        "end": vt.Float(0.0, 1.0),
        "clip": vt.Float(0.1, 10.0, log=True),
        "optimizer": vt.Categorical(["adam", "momentum"]),
    }
    return learner, space


DATA = ("digits", "breast cancer", "diabetes", "wine", "iris")
NETWORKS = {"linear": linear, "MLP": mlp, "shapes": shapes, "wide": wide}
NAMES = tuple(f"{data}, {network}" for data in DATA for network in NETWORKS)


def task(name: str) -> Task:
    """A task by its name, such as "digits, MLP"."""
    data_name, network = name.split(", ")
    data, outputs = data_of(data_name)
    return Task(name, *NETWORKS[network](outputs), data)
