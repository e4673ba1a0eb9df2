"""Small problems that many tests share, some with answers in closed form."""

import flax.linen as nn
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
