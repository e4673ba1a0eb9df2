"""Small problems that many tests share, some with answers in closed form."""

from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from solo import xent

import vtune as vt


def quadratic(a=1.0, x0=1.0):
    """SGD on a x^2 / 2: after t steps x = (1 - lr a)^t x0."""
    return vt.Learner(
        init=lambda key, h, batch: jnp.asarray(x0, float),
        step=lambda key, h, x, batch: (x - h["lr"] * a * x, {"loss": a * x**2 / 2}),
        measure=lambda key, h, x, batch, weight: a * x**2 / 2,
        score=lambda total: {"loss": total},
        variables=lambda x: x,
    )


def blobs(rows=96, features=6, classes=3, seed=0, shape=None):
    """Gaussian blobs, one a class, as a Data: learnable, not trivial."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    centres = rng.normal(size=(classes, features)) * 1.5
    x = centres[y] + rng.normal(size=(rows, features))
    if shape is not None:
        x = x.reshape(rows, *shape)
    return vt.holdout({"x": x.astype(np.float64), "y": y}, fraction=0.25, seed=seed)


def as_if(sweep, **plan):
    """The sweep with another plan, for what asks for nothing else and need not be trained."""
    trained = sweep.trained
    return vt.Sweep(replace(trained, plan=replace(trained.plan, **plan)))


class MLP(nn.Module):
    """An ordinary MLP; with a rate, dropout in between."""

    width: int = 8
    classes: int = 3
    rate: object = None

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(self.width, dtype=x.dtype, param_dtype=x.dtype)(x))
        if self.rate is not None:
            x = vt.nn.Dropout(self.rate)(x, deterministic=not train)
        return nn.Dense(self.classes, dtype=x.dtype, param_dtype=x.dtype)(x)


def mlp_learner(**options):
    """An MLP with SGD and everything left as small as can be."""
    parts = {
        "optimizer": lambda h: optax.sgd(h["lr"]),
        "loss": xent,
        "metrics": {"accuracy": vt.metrics.accuracy},
        **options,
    }
    return vt.flax_learner(MLP(), **parts)


LR = {"lr": vt.Float(1e-3, 1e-1, log=True)}


def two_heads():
    """Jaderberg et al. (2017), Fig. 2: the score is 1.2 - |theta|^2, the gradient that of
    1.2 - sum h_i theta_i^2, so that a setting sees one of the two only."""

    def step(key, h, theta, batch):
        return theta - 0.01 * 2 * jnp.stack([h["h0"], h["h1"]]) * theta, {}

    return vt.Learner(
        init=lambda key, h, batch: jnp.full(2, 0.9),
        step=step,
        measure=lambda key, h, theta, batch, weight: 1.2 - jnp.sum(theta**2),
        score=lambda total: {"score": total},
    )


def greedy(penalty, rounds=50, steps=20):
    """Chebykin et al. (TMLR 2025): a small h pays at once; with a penalty it is paid for later,
    by the distance of h from a falling line, summed along the lineage.

    theta <- theta - 0.002 max(2 - h - p, 0) theta, score 1.2 - theta^2.
    """
    total = rounds * steps

    def step(key, h, state, batch):
        theta, p, count = state
        line = (total - steps * (count // steps)).astype(float) / total
        p = p + jnp.where(count % steps == 0, penalty * jnp.abs(h["h"] - line), 0.0)
        theta = theta - 0.002 * jnp.maximum(2 - h["h"] - p, 0) * theta
        return (theta, p, count + 1), {}

    return vt.Learner(
        init=lambda key, h, batch: (jnp.full((), 0.9), jnp.zeros(()), jnp.int32(0)),
        step=step,
        measure=lambda key, h, state, batch, weight: 1.2 - state[0] ** 2,
        score=lambda total: {"score": total},
    )


def recorder(steps, batch_size, refresh_batches=0):
    """A learner whose weights are the rows `x` that it was trained on, batch by batch, and those
    that its statistics were recomputed on; -1 where there are none."""

    def put(name):
        def put(key, h, state, batch, *number):
            at = number[0] if number else state["steps"]
            seen = state[name].at[at].set(batch["x"].astype(float))
            return {**state, name: seen, "steps": state["steps"] + (not number)}

        return put

    step, empty = put("seen"), jnp.full((steps, batch_size), -1.0)
    return vt.Learner(
        init=lambda key, h, batch: {"seen": empty, "refreshed": empty, "steps": 0},
        step=lambda key, h, state, batch: (
            step(key, h, state, batch),
            {"loss": h["lr"] * h.get("width", 1)},
        ),
        measure=lambda key, h, state, batch, weight: jnp.sum(weight),
        score=lambda total: {"rows": total},
        variables=lambda state: {k: state[k] for k in ("seen", "refreshed")},
        refresh=put("refreshed") if refresh_batches else None,
        refresh_batches=refresh_batches,
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Own:
    """A refiner of the user's own that changes nothing; its memory counts the calls."""

    def rungs(self, size, rounds):
        return (vt.Rung(size, rounds),)

    def init(self, space, size):
        return jnp.int32(0)

    def refine(self, key, round, space, hparams, score, memory):
        return vt.Refinement(jnp.arange(score.shape[0], dtype=jnp.int32), hparams), memory + 1
