"""Linear models as specs: one step solves one."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from vtune.hparams import Hparams
from vtune.learner.protocol import Learner
from vtune.sklearn.training.proximal_gradient import half_squared, log_loss, solve
from vtune.types import Array, Batch, Key, PyTree


@dataclass(frozen=True)
class LinearSpec:
    """A penalised linear model; it reads the numbers l1, l2, max_iter and tol.

    Attributes:
      labels: whether it is of classes, by the log loss, or of numbers, by half the squared error.
      outputs: scores a row: 1 for two classes. intercept: whether there are any.
      mean: whether the penalties are of the mean loss and not of its sum.
    """

    labels: bool
    outputs: int
    intercept: bool
    mean: bool
    whole: bool = True
    double: bool = True

    @property
    def learner(self) -> Learner:
        return _learner(self)


@functools.lru_cache(maxsize=64)
def _learner(spec: LinearSpec) -> Learner:
    loss: Any = log_loss if spec.labels else half_squared

    def init(key: Key, h: Hparams, batch: Batch) -> PyTree:
        features, kind = batch["x"].shape[1], batch["x"].dtype
        return {
            "coef": jnp.zeros((features, spec.outputs), kind),
            "intercept": jnp.zeros(spec.outputs, kind),
            "n_iter": jnp.zeros((), jnp.int32),
        }

    def step(key: Key, h: Hparams, state: PyTree, batch: Batch) -> Any:
        weight, y = batch["weight"], batch["y"]
        scale = jnp.sum(weight) if spec.mean else 1.0
        centre, reach = (0.0, 1.0) if spec.labels else _span(y, weight, spec.intercept)
        found = solve(
            loss,
            batch["x"],
            y if spec.labels else (y - centre) / reach,
            weight,
            h["l1"] * scale / reach,
            h["l2"] * scale,
            intercept=spec.intercept,
            max_iter=h["max_iter"],
            tol=h["tol"],
            start=(state["coef"] / reach, (state["intercept"] - centre) / reach),
        )
        coef, intercept = found.coef * reach, found.intercept * reach + centre
        return {"coef": coef, "intercept": intercept, "n_iter": found.n_iter}, {}

    def predict(h: Hparams, state: PyTree, batch: Batch) -> Array:
        return batch["x"] @ state["coef"] + state["intercept"][None]

    def judge(h: Hparams, outputs: Array, batch: Batch, weight: Array) -> PyTree:
        own = (batch["weight"] * weight).astype(outputs.dtype)
        return {"loss": (jnp.sum(own * loss(outputs, batch["y"])), jnp.sum(own))}

    def load(h: Hparams, state: PyTree, variables: PyTree) -> PyTree:
        return {**state, "coef": variables["coef"], "intercept": variables["intercept"]}

    unused: Any = None  # the learner of all specs measures and scores
    return Learner(init, step, unused, unused, predict, load=load, judge=judge)


def _span(y: Array, weight: Array, intercept: bool) -> tuple[Array, Array]:
    """(centre, reach) of targets: by these they are brought to the order of 1."""
    rows = weight[:, None]
    centre = jnp.sum(rows * y) / (jnp.sum(weight) * y.shape[1]) if intercept else jnp.zeros(())
    reach = jnp.max(jnp.where(rows > 0, jnp.abs(y - centre), 0.0))
    return centre, jnp.where(reach > 0, reach, 1.0)
