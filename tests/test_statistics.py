"""Averaged weights are judged with batch statistics of their own, where that is asked for."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import LR, MLP
from solo import (
    exactly,
    largest_difference,
    own_rows,
    rows_of_an_epoch,
    valid_batch,
    xent,
)

import vtune as vt
from vtune.learner.statistics import of_batch

BATCHES, BATCH, EPOCHS = 3, 8, 2


class Frozen(nn.Module):
    """A BatchNorm that trains, and one that does not and whose statistics the other sees."""

    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, train):
        like = {"dtype": x.dtype, "param_dtype": x.dtype}
        x = nn.BatchNorm(use_running_average=True, name="frozen", **like)(x + 1)
        x = nn.Dense(8, **like)(x)
        x = nn.BatchNorm(not train, momentum=self.momentum, name="norm", **like)(x)
        return nn.Dense(3, **like)(nn.Dropout(0.2, deterministic=not train)(nn.relu(x)))


def optimizer(h):
    return optax.chain(optax.sgd(h["lr"]), vt.weight_average(h["decay"]))


@exactly
def recomputed(variables, key, batches, valid):
    """The variables with statistics by a layer that forgets, those of each batch and then their
    mean; and the validation loss."""

    def of_batch(number, x):
        rngs = {"dropout": jax.random.fold_in(key, number)}
        forgetful = Frozen(momentum=0.0)
        _, new = forgetful.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return new["batch_stats"]

    found = jax.vmap(of_batch)(jnp.arange(BATCHES), batches)
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), found)
    variables = {**variables, "batch_stats": mean}
    outputs = Frozen().apply(variables, valid["x"], train=False)
    return variables, xent(outputs, valid, None).mean()


@pytest.mark.filterwarnings("ignore:the model's batch statistics")  # one of them is frozen
def test_members_are_scored_with_statistics_of_their_averaged_weights(x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)) * 3 + 1, rng.integers(0, 3, 60)
    data = vt.kfold({"x": x, "y": y}, k=2)
    learner = vt.flax_learner(
        Frozen(),
        optimizer=optimizer,
        loss=xent,
        eval_params=vt.averaged,
        recompute_statistics=BATCHES,
    )
    space = {**LR, "decay": vt.Float(0.5, 0.9)}
    options = {"search": vt.Halton(2), "epochs": EPOCHS, "batch_size": BATCH}
    sweep = vt.tune(learner, space, data, **options)
    steps = EPOCHS * (30 // BATCH)
    for member in sweep.members:
        losses = []
        for fold in (0, 1):
            trained = jax.tree.map(lambda leaf, fold=fold: jnp.asarray(leaf[fold, 0]), member.state)
            params = vt.averaged(trained.opt_state, trained.params)
            variables = {"params": params, **trained.other}
            key = jax.random.fold_in(vt.member_key(0, member.index, fold), steps)
            rows = rows_of_an_epoch(data, np.uint32(0), EPOCHS, BATCH)[fold, :BATCHES]
            batches = own_rows(data, np.asarray(rows), fold)["x"]
            expected, loss = recomputed(variables, key, batches, valid_batch(data, fold))
            own = jax.tree.map(lambda leaf, fold=fold: leaf[fold, 0], member.variables)
            assert largest_difference(expected, own) < 1e-9
            losses.append(float(loss))
        assert member.score == pytest.approx(np.mean(losses), abs=1e-9)


class Stacked(nnx.Module):
    def __init__(self, momentum, rngs):
        self.dense = nnx.Linear(4, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=momentum, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.dense(x))


def test_statistics_of_an_nnx_module():
    made = lambda momentum: vt.nnx_learner(
        lambda h, rngs: Stacked(momentum, rngs),
        optimizer=lambda h: optax.sgd(0.1),
        loss=xent,
        recompute_statistics=2,
    )
    usual, forgetful = made(0.99), made(0.0)
    key, rng = vt.member_key(0, 0), np.random.default_rng(0)
    batches = [
        {"x": jnp.asarray(rng.normal(size=(6, 4)), jnp.float32), "y": jnp.arange(6) % 3}
        for _ in range(2)
    ]

    @jax.jit
    def both(key, batches):
        state = found = usual.init(key, {}, batches[0])
        for number, batch in enumerate(batches):
            found = usual.refresh(key, {}, found, batch, jnp.int32(number))
        by_batch = [forgetful.step(key, {}, state, batch)[0].other for batch in batches]
        return state.other, found, jax.tree.map(lambda a, b: (a + b) / 2, *by_batch)

    before, found, expected = both(key, batches)
    assert largest_difference(found.other, before) == 0  # training goes on with its own
    assert largest_difference(found.judged["variables"], expected["variables"]) < 1e-4


@pytest.mark.parametrize("batches", [0, True, "3"])
def test_a_number_of_batches_is_asked_for(batches):
    with pytest.raises(ValueError, match="must be a number of training batches"):
        vt.flax_learner(MLP(), optimizer=optimizer, loss=xent, recompute_statistics=batches)


def test_a_model_without_statistics_is_told():
    learner = vt.flax_learner(
        MLP(), optimizer=lambda h: optax.sgd(0.1), loss=xent, recompute_statistics=1
    )
    batch = {"x": np.zeros((4, 6), np.float32), "y": np.zeros(4, int)}
    with pytest.warns(UserWarning, match="the model has no means and variances"):
        jax.eval_shape(lambda: learner.init(vt.member_key(0, 0), {}, batch))


def test_statistics_that_stay_have_none_of_a_batch():
    """Where all layers take what they have (use_running_average=True), nothing is computed."""
    other = {"batch_stats": {"norm": {"mean": jnp.zeros(3)}}}
    assert of_batch(lambda other: other, other, [("batch_stats", "norm", "mean")]) == {}
