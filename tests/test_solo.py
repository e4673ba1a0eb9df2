"""Member = solo run (design, 6.1): a member equals the same setting in a plain loop."""

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

STEPS, BATCH = 200, 16


def schedule_factor(step, total):
    """Warm-up over the first tenth, then a cosine to zero; peak 1."""
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, total // 10, total)(step)


def adamw(h):
    return optax.adamw(
        lambda step: h["lr"] * schedule_factor(step, STEPS), b1=0.9, weight_decay=h["decay"]
    )


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
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
    # name: (model of h, optimizer, shape of a row, mode argument)
    "mlp_dropout_adamw_cosine": (lambda h: MLP(rate=h["rate"]), adamw, None, "train"),
    "cnn_batchnorm": (
        lambda h: CNN(),
        lambda h: optax.sgd(h["lr"], momentum=0.9, nesterov=True),
        (4, 4, 1),
        "train",
    ),
    "gru": (lambda h: Recurrent(), lambda h: optax.adam(h["lr"]), (4, 4), None),
    "attention": (
        lambda h: Attention(),
        lambda h: optax.chain(optax.clip_by_global_norm(h["clip"]), optax.adam(0.1 * h["lr"])),
        (4, 4),
        "deterministic",
    ),
    "lbfgs": (lambda h: MLP(), lambda h: optax.lbfgs(memory_size=4), None, None),
    "reduce_on_plateau": (
        lambda h: MLP(),
        lambda h: optax.chain(
            optax.adam(h["lr"]),
            optax.contrib.reduce_on_plateau(factor=0.5, patience=5, accumulation_size=5),
        ),
        None,
        None,
    ),
}

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


def settings_for(case, count):
    """The first hyperparameters that the case reads, `count` members."""
    reads = {
        "mlp_dropout_adamw_cosine": ("lr", "decay", "rate"),
        "attention": ("lr", "clip"),
        "lbfgs": ("seed",),
    }.get(case, ("lr",))
    space = {k: RANGES[k] for k in reads if k in RANGES}
    picked = [{k: SETTINGS[i % 7][k] for k in space} for i in range(count)]
    return space or {"unused": 0}, picked


def run_case(case, count, layout=None, steps=STEPS, rounds=None):
    model, optimizer, shape, _ = CASES[case]
    features = int(np.prod(shape)) if shape else 6
    data = blobs(rows=80, features=features, shape=shape)
    space, picked = settings_for(case, count)
    learner = vt.flax_learner(
        model, optimizer=optimizer, loss=xent, metrics={"accuracy": vt.metrics.accuracy}
    )
    options = {
        "steps": steps,
        "rounds": rounds,
        "batch_size": BATCH,
        "seed": 3,
        "layout": layout,
    }
    if space == {"unused": 0}:
        with pytest.warns(UserWarning, match="never read"):
            sweep = vt.tune(learner, space, data, search=vt.Random(count), **options)
    else:
        sweep = vt.tune(learner, space, data, search=vt.Given(picked), **options)
    return sweep, data


def solo_case(case, sweep, data, i, steps=STEPS):
    model, optimizer, _, mode = CASES[case]
    solo = plain_loop(model, optimizer, mode)
    return solo(sweep[i].hparams, data, seed=3, id=i, steps=steps, batch_size=BATCH)


@pytest.mark.parametrize("case", CASES)
def test_member_equals_solo_in_float64(case, x64):
    sweep, data = run_case(case, 7)
    for i in (0, 1, 4):
        variables, losses, metrics = solo_case(case, sweep, data, i)
        assert largest_difference(sweep[i].variables, variables) < 1e-9
        rounds = len(sweep.history["loss"])
        last = np.mean(losses[(rounds - 1) * STEPS // rounds :])
        assert sweep.history["train/loss"][-1, i] == pytest.approx(last, abs=1e-9)
        assert sweep.history["loss"][-1, i] == pytest.approx(metrics["loss"], abs=1e-9)
        assert sweep.history["accuracy"][-1, i] == pytest.approx(metrics["accuracy"], abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_member_equals_solo_in_float32(case):
    """Metrics to 1e-4 over 200 steps."""
    sweep, data = run_case(case, 7)
    for i in (1, 2):
        _, _, metrics = solo_case(case, sweep, data, i)
        assert sweep.history["loss"][-1, i] == pytest.approx(metrics["loss"], abs=1e-4)


@pytest.mark.parametrize("count", [1, 64])
def test_population_size_changes_no_member(count, x64):
    case = "mlp_dropout_adamw_cosine"
    sweep, data = run_case(case, count)
    for i in {0, count // 2, count - 1}:
        variables, _, _ = solo_case(case, sweep, data, i)
        assert largest_difference(sweep[i].variables, variables) < 1e-9


@pytest.mark.parametrize(
    "layout",
    ["vmap", "map", 3, vt.Layout(None, 1), vt.Layout(1, 1), vt.Layout(2, 1), vt.Layout(2, 2)],
    ids=str,
)
def test_layout_and_devices_change_no_member(layout, x64):
    case = "cnn_batchnorm"
    sweep, data = run_case(case, 7, layout, steps=60, rounds=3)
    assert len(sweep) == 7
    for i in (0, 6):
        variables, _, _ = solo_case(case, sweep, data, i, steps=60)
        assert largest_difference(sweep[i].variables, variables) < 1e-9


@pytest.mark.parametrize("rounds", [1, 5, 7])
def test_rounds_that_do_not_match_epochs_change_no_member(rounds, x64):
    """13 steps of 3 an epoch in 1, 5 or 7 rounds: every step once, in order."""
    case = "mlp_dropout_adamw_cosine"
    sweep, data = run_case(case, 2, steps=13, rounds=rounds)
    variables, _, _ = solo_case(case, sweep, data, 1, steps=13)
    assert largest_difference(sweep[1].variables, variables) < 1e-9


def test_rows_gathered_in_pieces_change_no_member(x64, monkeypatch):
    """Memory for the rows of one, two or five steps at a time."""
    from vtune.engine import stepping

    case = "mlp_dropout_adamw_cosine"
    row_bytes = 8 * 6 + 8
    for steps_at_once in (1, 2):
        monkeypatch.setattr(stepping, "GATHER_BYTES", steps_at_once * BATCH * row_bytes)
        sweep, data = run_case(case, 3, steps=9)
        cohort = sweep.trained.plan.cohorts[0]
        rounds = sweep.trained.plan.rounds
        assert stepping.step_chunks(cohort, rounds, row_bytes).chunk <= steps_at_once
        variables, _, _ = solo_case(case, sweep, data, 1, steps=9)
        assert largest_difference(sweep[1].variables, variables) < 1e-9


class NnxMLP(nnx.Module):
    def __init__(self, rate, features, dtype, rngs):
        kind = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.first = nnx.Linear(features, 8, **kind)
        self.norm = nnx.LayerNorm(8, **kind)
        self.dropout = vt.nn.Dropout(rate, rngs=rngs)
        self.last = nnx.Linear(8, 3, **kind)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


@pytest.mark.parametrize("layout", [None, vt.Layout(None, 1)], ids=str)
def test_nnx_member_equals_solo(layout, x64):
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
        steps=STEPS,
        batch_size=BATCH,
        seed=3,
        layout=layout,
    )
    for i, h in enumerate(picked):
        variables, loss = solo_nnx(make, h, data, i)
        got = sweep[i].variables
        assert largest_difference(got, variables) < 1e-9
        assert sweep.history["loss"][-1, i] == pytest.approx(loss, abs=1e-9)
        # what Member.variables shows goes straight back into a module
        module = make(h, nnx.Rngs(0))
        nnx.update(module, got)
        module.eval()
        x = np.asarray(data.arrays["x"])[:5]
        np.testing.assert_allclose(module(x), sweep.predict(x, member=i), atol=1e-12)


def solo_nnx(make, h, data, i):
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
    for number, batch in enumerate(batches(data, 3, STEPS, BATCH)):
        opt_state = step(model, opt_state, batch, jax.random.fold_in(key, number))
    model.eval()
    valid = valid_batch(data)
    loss = float(loss_of(model, valid))
    kept = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return nnx.to_pure_dict(kept), loss


def test_rerun_gives_the_same_weights(x64):
    sweep, _ = run_case("cnn_batchnorm", 5, steps=20)
    alone = sweep.rerun(3)
    assert alone.index == 3
    assert largest_difference(alone.variables, sweep[3].variables) < 1e-9
    assert alone.hparams == sweep[3].hparams
    assert alone.score == pytest.approx(sweep[3].score, abs=1e-9)
