"""Members that share frozen weights equal solo runs, and each weight is there once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, blobs
from solo import largest_difference, plain_loop, xent

import vtune as vt

DATA = blobs()
WHOLE = jax.jit(MLP().init)(jax.random.key(7), DATA.arrays["x"])


def adam(h):
    return optax.adam(h["lr"])


LEARNER = vt.flax_learner(MLP(), optimizer=adam, loss=xent)


def tune(learner=LEARNER, space=LR, **options):
    given = {"search": vt.Halton(3), "epochs": 2, "batch_size": 16, "init_from": WHOLE}
    return vt.tune(learner, space, DATA, **{**given, "frozen": "Dense_0", **options})


def test_head_only(x64):
    sweep = tune()
    state = sweep.best.state
    print(jax.tree.map(jnp.shape, state))
    print(jax.tree.map(jnp.shape, sweep.best.variables))
    print(jax.tree.map(jnp.shape, sweep.best.trained))
    def masked(h):
        return optax.multi_transform({"a": optax.adam(h["lr"]), "b": optax.set_to_zero()},
          lambda p: jax.tree_util.tree_map_with_path(lambda path, _: "b" if path[0].key=="Dense_0" else "a", p))
    train = plain_loop(lambda h: MLP(), masked)
    variables, _, metrics = train(sweep[2].hparams, DATA, seed=0, id=2, steps=8, batch_size=16, start=WHOLE["params"])
    assert largest_difference(variables, sweep[2].variables) < 1e-9
    assert sweep.rerun(2).score == pytest.approx(sweep[2].score, abs=1e-12)
    sweep.predict(DATA.arrays["x"][:3])
