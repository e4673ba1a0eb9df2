"""Member = solo run (design, 6.1): a member equals the same setting in a plain loop."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import MLP, blobs
from solo import batches, largest_difference, plain_loop, valid_batch, xent

import vtune as vt
from vtune.xla.jaxpr import opened, subjaxprs

STEPS, BATCH = 200, 16


def schedule_factor(step, total):
    """Warm-up over the first tenth, then a cosine to zero; peak 1."""
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, total // 10, total)(step)


def adamw(h):
    # An epsilon at which the rounding of gradients near 0 is not made large.
    rate = lambda step: h["lr"] * schedule_factor(step, STEPS)
    return optax.adamw(rate, b1=0.9, eps=1e-5, weight_decay=h["decay"])


class Flat(nn.Module):
    """An MLP of all numbers of a row."""

    rate: object = None

    @nn.compact
    def __call__(self, x, train=False):
        return MLP(rate=self.rate)(x.reshape(x.shape[0], -1), train)


class Half(nn.Module):
    """A convolution and two layers in bfloat16, with float32 weights. No axis is a batch's."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(5, (3, 3), dtype=jnp.bfloat16)(x[..., None]))
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(9, dtype=jnp.bfloat16)(x))
        return nn.Dense(3, dtype=jnp.bfloat16)(x)


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = x[..., None]
        x = nn.Conv(4, (3, 3), use_bias=False, dtype=x.dtype, param_dtype=x.dtype)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=x.dtype)(x)
        x = nn.max_pool(nn.relu(x), (2, 2), (2, 2)).reshape(x.shape[0], -1)
        return nn.Dense(3, dtype=x.dtype, param_dtype=x.dtype)(x)


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        cell = nn.GRUCell(5, dtype=x.dtype, param_dtype=x.dtype)
        hidden = nn.RNN(cell)(x)
        return nn.Dense(3, dtype=x.dtype, param_dtype=x.dtype)(hidden[:, -1])


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic: bool):
        kind = {"dtype": x.dtype, "param_dtype": x.dtype}
        x = nn.Dense(8, **kind)(x)
        # No biases: the keys' has no gradient, and Adam would amplify its rounding.
        attend = nn.MultiHeadDotProductAttention(2, dropout_rate=0.2, use_bias=False, **kind)
        x = x + attend(x, deterministic=deterministic)
        return nn.Dense(3, **kind)(nn.LayerNorm(**kind)(x).mean(axis=1))


CASES = {
    # name: (model of h, optimizer, mode argument, hyperparameters that it reads)
    "mlp_dropout_adamw_cosine": (
        lambda h: Flat(rate=h["rate"]),
        adamw,
        "train",
        ("lr", "decay", "rate"),
    ),
    "cnn_batchnorm": (
        lambda h: CNN(),
        lambda h: optax.sgd(h["lr"], momentum=0.9, nesterov=True),
        "train",
        ("lr",),
    ),
    "gru": (lambda h: Recurrent(), lambda h: optax.adam(h["lr"]), None, ("lr",)),
    "attention": (
        lambda h: Attention(),
        lambda h: optax.chain(optax.clip_by_global_norm(h["clip"]), optax.adam(0.1 * h["lr"])),
        "deterministic",
        ("lr", "clip"),
    ),
    "bfloat16": (lambda h: Half(), lambda h: optax.sgd(h["lr"], momentum=0.9), None, ("lr",)),
    "lbfgs": (lambda h: Flat(), lambda h: optax.lbfgs(memory_size=4), None, ()),
    "reduce_on_plateau": (
        lambda h: Flat(),
        lambda h: optax.chain(
            optax.adam(h["lr"]),
            optax.contrib.reduce_on_plateau(factor=0.5, patience=5, accumulation_size=5),
        ),
        None,
        ("lr",),
    ),
}
DROPOUT = "mlp_dropout_adamw_cosine"  # whose steps draw numbers
HALF = "bfloat16"  # which is never as exact as the others

# Deliberately different members: tiny and large rates, no and heavy dropout.
SETTINGS = [
    {"lr": 1e-4, "decay": 0.0, "rate": 0.0, "clip": 1e-2},
    {"lr": 3e-2, "decay": 1e-1, "rate": 0.7, "clip": 10.0},
    {"lr": 1e-3, "decay": 1e-3, "rate": 0.3, "clip": 0.5},
    {"lr": 1e-2, "decay": 1e-2, "rate": 0.5, "clip": 1.0},
    {"lr": 5e-3, "decay": 0.0, "rate": 0.9, "clip": 0.1},
    {"lr": 2e-2, "decay": 1e-4, "rate": 0.1, "clip": 2.0},
    {"lr": 5e-4, "decay": 5e-2, "rate": 0.2, "clip": 5.0},
]
RANGES = {
    "lr": vt.Float(1e-5, 1.0, log=True),
    "decay": vt.Float(0.0, 1.0),
    "rate": vt.Float(0.0, 1.0),
    "clip": vt.Float(1e-3, 100.0, log=True),
}


# Case by case one structure of one learner.
LEARNER = vt.flax_learner(
    lambda h: CASES[h["case"]][0](h),
    optimizer=lambda h: CASES[h["case"]][1](h),
    loss=xent,
    metrics={"accuracy": vt.metrics.accuracy},
)


@functools.cache
def data_of(dtype):
    return blobs(rows=80, features=16, shape=(4, 4))


def run_cases(cases, count, *, steps, settings=SETTINGS):
    """A sweep of `count` members of every case, case after case."""
    names = {name for case in cases for name in CASES[case][3]}
    own = [
        {k: setting[k] for k in names}
        for setting in itertools.islice(itertools.cycle(settings), count)
    ]
    sweep = vt.tune(
        LEARNER,
        {**{k: RANGES[k] for k in names}, "case": vt.Categorical(list(cases))},
        data_of(jnp.zeros(()).dtype),
        search=vt.Given([{**h, "case": case} for case in cases for h in own]),
        steps=steps,
        batch_size=BATCH,
        seed=3,
    )
    assert len(sweep) == count * len(cases)
    return sweep


def solo(member, steps):
    """(variables, losses, metrics) of a member's setting in a plain loop."""
    h = dict(member.hparams)
    model, optimizer, mode, _ = CASES[h.pop("case")]
    train = plain_loop(model, optimizer, mode)
    data = data_of(jnp.zeros(()).dtype)
    return train(h, data, seed=3, id=member.index, steps=steps, batch_size=BATCH)


@pytest.mark.slow
def test_members_equal_solo_in_float64(x64, exact):
    """Every case, all of them in one sweep."""
    steps, count = STEPS, 5
    cases = [case for case in CASES if case != HALF]
    sweep = run_cases(cases, count, steps=steps)
    rounds = len(sweep.history["loss"])
    for number, case in enumerate(cases):
        for setting in (0, 1, 4):
            i = count * number + setting
            variables, losses, metrics = solo(sweep[i], steps)
            assert sweep[i].hparams["case"] == case
            assert largest_difference(sweep[i].variables, variables) < 1e-9, case
            last = np.mean(losses[(rounds - 1) * steps // rounds :])
            assert sweep.history["train/loss"][-1, i] == pytest.approx(last, abs=1e-9), case
            for name in ("loss", "accuracy"):
                got = sweep.history[name][-1, i]
                assert got == pytest.approx(metrics[name], abs=1e-9), case


def test_members_equal_solo_in_float32():
    """Metrics to 1e-4 over 200 steps."""
    sweep = run_cases([DROPOUT, "cnn_batchnorm"], 7, steps=STEPS)
    for i in (1, 2, 8, 9):
        _, _, metrics = solo(sweep[i], STEPS)
        assert sweep.history["loss"][-1, i] == pytest.approx(metrics["loss"], abs=1e-4)


def test_members_equal_solo_in_bfloat16():
    """Arithmetic in bfloat16, weights in float32: weights to 0.005, the loss to 0.01."""
    sweep = run_cases([HALF], 3, steps=60, settings=SETTINGS[2:])
    for i in range(3):
        variables, _, metrics = solo(sweep[i], 60)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(sweep[i].variables)} == {"float32"}
        assert largest_difference(sweep[i].variables, variables) < 0.005
        assert sweep.history["loss"][-1, i] == pytest.approx(metrics["loss"], abs=0.01)


def casts(closed, shapes):
    """(from, to, shape) of the casts of arrays of these shapes in a traced function."""
    for equation in opened(closed)[0].eqns:
        if equation.primitive.name == "convert_element_type":
            before, after = equation.invars[0].aval, equation.outvars[0].aval
            if before.shape in shapes:
                yield before.dtype.name, after.dtype.name, before.shape
        for inner in subjaxprs(equation.params):
            yield from casts(inner, shapes)


def test_weights_are_cast_to_bfloat16_once_a_step_and_their_gradients_back():
    key, h = vt.member_key(0, 0), vt.Hparams({"lr": 0.1}, {"case": HALF})
    batch = {"x": jnp.zeros((8, 4, 4)), "y": jnp.arange(8) % 3}
    state = jax.eval_shape(LEARNER.init, key, h, batch)
    weights = {leaf.shape for leaf in jax.tree.leaves(state.params)}
    found = sorted(casts(jax.make_jaxpr(LEARNER.step)(key, h, state, batch), weights))
    there, back = ("float32", "bfloat16"), ("bfloat16", "float32")
    assert found == sorted((*way, shape) for way in (there, back) for shape in weights)


@pytest.mark.parametrize("count", [1, 16])
def test_population_size_changes_no_member(count, x64, exact):
    sweep = run_cases([DROPOUT], count, steps=60, settings=SETTINGS[2:])  # all drop units
    for i in {0, count // 2, count - 1}:
        assert largest_difference(sweep[i].variables, solo(sweep[i], 60)[0]) < 1e-9, i


def noisy_step(key, h, x, batch):
    """Towards the mean of the rows, with noise: other rows or another key, and it is elsewhere."""
    noise = jax.random.normal(key, x.shape, x.dtype)
    return x + h["lr"] * (batch["x"].mean(0) - x + noise), {"loss": jnp.sum(x**2)}


def noisy_learner():
    """Cheap to compile, for what does not depend on the model: layouts, rounds, gathers."""
    return vt.Learner(
        init=lambda key, h, batch: jax.random.normal(key, (6,), float),
        step=noisy_step,
        measure=lambda key, h, x, batch, weight: jnp.sum(x**2),
        score=lambda total: {"loss": total},
        variables=lambda x: x,
    )


def run_noisy(count, *, steps, layout=None, rounds=None):
    return vt.tune(
        noisy_learner(),  # a new one, whose program is built anew
        {"lr": RANGES["lr"]},
        blobs(rows=80),
        search=vt.Given([{"lr": setting["lr"]} for setting in SETTINGS[:count]]),
        steps=steps,
        rounds=rounds,
        batch_size=BATCH,
        seed=3,
        layout=layout,
    )


def assert_solo(sweep, members, steps):
    """Members are what the plain loop makes of their settings."""
    step = jax.jit(noisy_step)
    for i in members:
        key = vt.member_key(3, i)
        h, x = {"lr": np.float64(sweep[i].hparams["lr"])}, jax.random.normal(key, (6,), float)
        for number, batch in enumerate(batches(blobs(rows=80), 3, steps, BATCH)):
            x, _ = step(jax.random.fold_in(key, number), h, x, batch)
        assert largest_difference(sweep[i].variables, x) < 1e-12, i


@pytest.mark.parametrize("layout", ["vmap", "map", 3, vt.Layout(2, 1)], ids=str)
def test_layout_and_devices_change_no_member(layout, x64):
    """All at once, one after the other, and seven in chunks that have to be filled up: of three
    on two devices, of two on one."""
    assert_solo(run_noisy(7, steps=60, layout=layout, rounds=3), (0, 6), 60)


@pytest.mark.parametrize("rounds", [1, 5, 7])
def test_rounds_that_do_not_match_epochs_change_no_member(rounds, x64):
    """13 steps of 3 an epoch in 1, 5 or 7 rounds: every step once, in order."""
    assert_solo(run_noisy(2, steps=13, rounds=rounds), (1,), 13)


@pytest.mark.slow
def test_rows_gathered_in_pieces_change_no_member(x64, monkeypatch):
    """Memory for the rows of one, two or five steps at a time."""
    from vtune.engine import stepping

    row_bytes = 8 * 6 + 8
    for steps_at_once in (1, 2):
        monkeypatch.setattr(stepping, "GATHER_BYTES", steps_at_once * BATCH * row_bytes)
        sweep = run_noisy(3, steps=9)
        cohort = sweep.trained.plan.cohorts[0]
        rounds = sweep.trained.plan.rounds
        assert stepping.step_chunks(cohort, rounds, row_bytes).chunk <= steps_at_once
        assert_solo(sweep, (1,), 9)


class NnxMLP(nnx.Module):
    def __init__(self, rate, features, dtype, rngs):
        kind = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.first = nnx.Linear(features, 8, **kind)
        self.norm = nnx.LayerNorm(8, **kind)
        self.dropout = vt.nn.Dropout(rate, rngs=rngs)
        self.last = nnx.Linear(8, 3, **kind)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


@pytest.mark.slow
def test_nnx_member_equals_solo(x64):
    steps = 60
    data = blobs(rows=80)
    make = lambda h, rngs: NnxMLP(h["rate"], 6, jnp.float64, rngs)
    learner = vt.nnx_learner(
        make,
        optimizer=lambda h: optax.adam(h["lr"]),
        loss=xent,
        metrics={"accuracy": vt.metrics.accuracy},
    )
    picked = [{"lr": 1e-3, "rate": 0.0}, {"lr": 3e-2, "rate": 0.6}, {"lr": 1e-2, "rate": 0.2}]
    sweep = vt.tune(
        learner,
        {k: RANGES[k] for k in ("lr", "rate")},
        data,
        search=vt.Given(picked),
        steps=steps,
        batch_size=BATCH,
        seed=3,
    )
    for i, h in enumerate(picked):
        variables, loss = solo_nnx(make, h, data, i, steps)
        got = sweep[i].variables
        assert largest_difference(got, variables) < 1e-9
        assert sweep.history["loss"][-1, i] == pytest.approx(loss, abs=1e-9)
        # what Member.variables shows goes straight back into a module
        module = make(h, nnx.Rngs(0))
        nnx.update(module, got)
        module.eval()
        x = np.asarray(data.arrays["x"])[:5]
        np.testing.assert_allclose(module(x), sweep.predict(x, member=i), atol=1e-12)


def solo_nnx(make, h, data, i, steps):
    """A plain nnx loop: reseed, differentiate, update."""
    key = vt.member_key(3, i)
    model = make(h, nnx.Rngs(key))
    tx = optax.adam(h["lr"])
    opt_state = tx.init(nnx.state(model, nnx.Param))

    def loss_of(model, batch):
        return xent(model(batch["x"]), batch, None).mean()

    @nnx.jit
    def step(model, opt_state, batch, key):
        nnx.reseed(model, default=key)
        grads = nnx.grad(loss_of)(model, batch)
        params = nnx.state(model, nnx.Param)
        updates, opt_state = tx.update(grads, opt_state, params)
        nnx.update(model, optax.apply_updates(params, updates))
        return opt_state

    model.train()
    for number, batch in enumerate(batches(data, 3, steps, BATCH)):
        opt_state = step(model, opt_state, batch, jax.random.fold_in(key, number))
    model.eval()
    valid = valid_batch(data)
    loss = float(loss_of(model, valid))
    kept = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return nnx.to_pure_dict(kept), loss


def test_rerun_gives_the_same_weights(x64):
    sweep = run_noisy(5, steps=20)
    alone = sweep.rerun(3)
    assert alone.index == 3
    assert largest_difference(alone.variables, sweep[3].variables) < 1e-9
    assert alone.hparams == sweep[3].hparams
    assert alone.score == pytest.approx(sweep[3].score, abs=1e-9)
