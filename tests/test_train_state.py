"""A script with a TrainState is taken over; a hand-written state that cannot be is named."""

from collections import OrderedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from problems import LR, blobs
from solo import batches, largest_difference, valid_batch, xent

import vtune as vt
from vtune.learner.check_static import check_static

pytestmark = pytest.mark.slow

DATA = blobs()


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(8, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(3)(nn.Dropout(0.2, deterministic=not train)(x))


class State(TrainState):
    batch_stats: dict


def create(key, h, batch):
    variables = jax.jit(Net().init, static_argnames="train")(key, batch["x"], train=False)
    return State.create(
        apply_fn=Net().apply,
        params=OrderedDict(reversed(variables["params"].items())),  # in another order than a dict's
        batch_stats=variables["batch_stats"],
        tx=optax.inject_hyperparams(optax.adam)(learning_rate=h["lr"]),
    )


@jax.jit
def train_step(state, batch, key):
    def loss(params):
        outputs, changed = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            batch["x"],
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return xent(outputs, batch, None).mean(), changed

    (value, changed), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, batch_stats=changed["batch_stats"]), value


def predict(state, batch):
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return state.apply_fn(variables, batch["x"], train=False)


def measure(state, batch):
    outputs = predict(state, batch)
    return {
        "loss": xent(outputs, batch, None),
        "accuracy": jnp.argmax(outputs, -1) == batch["y"],
    }


def test_a_script_with_a_train_state_equals_itself_in_a_plain_loop():
    seen = []

    def noted(state, batch, key):
        seen.append(batch)
        return train_step(state, batch, key)

    learner = vt.train_state_learner(create, noted, measure, predict=predict)
    sweep = vt.tune(learner, LR, DATA, search=vt.Halton(2), epochs=2, batch_size=16)
    assert len(seen) == 1  # it is traced once
    steps = 2 * (len(DATA.train) // 16)
    for member in sweep.members[1:]:
        key = vt.member_key(0, member.index)
        own = None
        for number, batch in enumerate(batches(DATA, 0, steps, 16)):
            own = create(key, member.hparams, batch) if own is None else own
            own, _ = train_step(own, batch, jax.random.fold_in(key, number))
        expected = {"params": dict(own.params), "batch_stats": own.batch_stats}
        assert largest_difference(expected, member.variables) < 1e-4
        for name, values in jax.jit(measure)(own, valid_batch(DATA)).items():
            assert member.history[name][-1] == pytest.approx(float(values.mean()), abs=1e-4)
        x = np.asarray(DATA.arrays["x"][:5])
        np.testing.assert_allclose(member.predict(x), jax.jit(predict)(own, {"x": x}), atol=1e-3)


def test_the_one_function_that_reads_a_traced_number_is_found_among_many():
    def check(lr):
        h = vt.Hparams({"lr": lr}, {"decay": 0.9})
        for others in range(12):
            rates = [lambda count: h["decay"] for _ in range(others)] + [lambda count: h["lr"]]
            tx = optax.chain(*map(optax.scale_by_schedule, rates))
            state = TrainState.create(apply_fn=None, params=jnp.ones(3), tx=tx)
            with pytest.raises(TypeError, match="was made of a traced"):
                check_static(state)
        return lr

    jax.make_jaxpr(check)(0.1)


def by_hand(step):
    def init(key, h, batch):
        return TrainState.create(apply_fn=None, params={"w": jnp.ones(3)}, tx=optax.adam(h["lr"]))

    return vt.Learner(init, step, lambda key, h, s, b, w: s.params["w"][0], lambda t: {"loss": t})


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (
            lambda: by_hand(lambda key, h, s, b: (s.apply_gradients(grads=s.params), {})),
            r"^state.tx.* is no array and was made of a traced .* vt.train_state_learner\(",
        ),
        (
            lambda: vt.Learner(
                lambda key, h, b: TrainState.create(
                    apply_fn=None, params={"w": jnp.ones(3)}, tx=optax.sgd(lambda count: h["lr"])
                ),
                lambda key, h, s, b: (s.apply_gradients(grads=s.params), {}),
                lambda key, h, s, b, w: s.params["w"][0],
                lambda total: {"loss": total},
            ),
            r"^state.tx.* is no array and was made of a traced",
        ),
        (
            lambda: vt.train_state_learner(create, train_step, lambda state: 0),
            r"measure must take the arguments \(state, batch\)",
        ),
        (lambda: vt.train_state_learner(None, train_step, measure), "create must be a function"),
        (
            lambda: vt.train_state_learner(lambda key, rate: -rate, train_step, measure),
            r"h holds all hyperparameters (.|\n)*create\(key, rate\) was called with \(key, h\); .*"
            r'write lambda key, h, batch: create\(key, batch\["x"\], h\["lr"\]\)',
        ),
        (
            lambda: vt.train_state_learner(
                create, lambda state, images, labels, rng: images @ labels, measure
            ),
            r"train_step\(state, images, labels, rng\) was called with \(state, batch, key, h\)",
        ),
        (
            lambda: vt.train_state_learner(create, train_step, lambda state, x, y: x),
            r"measure must take .*; for others write lambda state, batch: measure\(state, batch\[",
        ),
        (
            lambda: vt.train_state_learner(lambda key, h: {"w": 0}, train_step, measure),
            "create returned a dict with 'w', without `params`",
        ),
        (
            lambda: vt.train_state_learner(
                lambda key, h: (nnx.Linear(2, 1, rngs=nnx.Rngs(key)), None), train_step, measure
            ),
            r"create returned a tuple of 2(.|\n)* of an nnx module, write vt.nnx_learner\(lambda h",
        ),
        (
            lambda: vt.train_state_learner(create, train_step, lambda s, b: {"loss": 0.0}),
            r"measure returned 'loss' of shape \[\] for 24 rows",
        ),
    ],
)
def test_states_that_cannot_be_carried_are_named(build, says, refused):
    with refused((TypeError, ValueError), says):
        vt.tune(build(), LR, DATA, search=vt.Random(2), epochs=1, batch_size=16)
