"""Specs of linear models; one training step of their learner solves a model to its optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from vtune.caches import bounded_cache
from vtune.hparams import Hparams
from vtune.learner.protocol import Learner
from vtune.sklearn.training.proximal_gradient import Problem, half_squared, log_loss, solve
from vtune.types import Array, Batch, Key, PyTree


@dataclass(frozen=True)
class LinearSpec:
    """A penalised linear model; it reads the numbers l1, l2, max_iter and tol.

    Attributes:
      classifier: whether targets are classes (log loss) or numbers (half the squared error).
      outputs: scores per row: 1 for two classes. intercept: whether there are intercepts.
      mean: whether the penalties are added to the mean loss, not to its sum.
    """

    classifier: bool
    outputs: int
    intercept: bool
    mean: bool
    full_batch: bool = True
    float64: bool = True

    @property
    def learner(self) -> Learner:
        """The learner of one such model, the same object for equal specs."""
        return _learner(self)


@bounded_cache(64)
def _learner(spec: LinearSpec) -> Learner:
    loss: Any = log_loss if spec.classifier else half_squared

    def init(key: Key, h: Hparams, batch: Batch) -> PyTree:
        features, dtype = batch["x"].shape[1], batch["x"].dtype
        return {
            "coef": jnp.zeros((features, spec.outputs), dtype),
            "intercept": jnp.zeros(spec.outputs, dtype),
            "n_iter": jnp.zeros((), jnp.int32),
        }

    def step(key: Key, h: Hparams, state: PyTree, batch: Batch) -> Any:
        weight, y = batch["weight"], batch["y"]
        scale = jnp.sum(weight) if spec.mean else 1.0
        shift, unit = (0.0, 1.0) if spec.classifier else _scaling(y, weight, spec.intercept)
        problem = Problem(
            loss,
            batch["x"],
            y if spec.classifier else (y - shift) / unit,
            weight,
            h["l1"] * scale / unit,
            h["l2"] * scale,
            spec.intercept,
        )
        start = (state["coef"] / unit, (state["intercept"] - shift) / unit)
        solution = solve(problem, start, max_iter=h["max_iter"], tol=h["tol"])
        coef, intercept = solution.coef * unit, solution.intercept * unit + shift
        return {"coef": coef, "intercept": intercept, "n_iter": solution.n_iter}, {}

    def predict(h: Hparams, state: PyTree, batch: Batch) -> Array:
        return batch["x"] @ state["coef"] + state["intercept"][None]

    def judge(h: Hparams, outputs: Array, batch: Batch, weight: Array) -> PyTree:
        weight = (batch["weight"] * weight).astype(outputs.dtype)
        return {"loss": (jnp.sum(weight * loss(outputs, batch["y"])), jnp.sum(weight))}

    def load(h: Hparams, state: PyTree, variables: PyTree) -> PyTree:
        return {**state, "coef": variables["coef"], "intercept": variables["intercept"]}

    unused: Any = None  # the learner of all specs (`spec.learner`) measures and scores
    return Learner(init, step, unused, unused, predict, load=load, judge=judge)


def _scaling(y: Array, weight: Array, intercept: bool) -> tuple[Array, Array]:
    """Returns (shift, unit), by which `(y - shift) / unit` are targets of the order of 1."""
    rows = weight[:, None]
    shift = jnp.sum(rows * y) / (jnp.sum(weight) * y.shape[1]) if intercept else jnp.zeros(())
    unit = jnp.max(jnp.where(rows > 0, jnp.abs(y - shift), 0.0))
    return shift, jnp.where(unit > 0, unit, 1.0)
