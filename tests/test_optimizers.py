"""Any Optax chain, schedules with traced numbers, penalties, averaged weights: each member equals a
plain loop of its setting."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, MLP, blobs
from solo import batches, largest_difference, plain_loop, valid_batch, xent

import vtune as vt

STEPS, EPOCHS, BATCH = 9, 2, 16


def layers(params):
    return {name: "first" if name == "Dense_0" else "rest" for name in params}


OPTIMIZERS = {
    "sgd": lambda h: optax.sgd(h["lr"]),
    "momentum": lambda h: optax.sgd(h["lr"], momentum=h["beta"]),
    "nesterov": lambda h: optax.sgd(h["lr"], momentum=h["beta"], nesterov=True),
    "adam": lambda h: optax.adam(h["lr"], b1=h["beta"]),
    "adamw": lambda h: optax.adamw(h["lr"], weight_decay=h["decay"]),
    "lion": lambda h: optax.lion(h["lr"], b1=h["beta"], weight_decay=h["decay"]),
    "lamb": lambda h: optax.lamb(h["lr"], weight_decay=h["decay"]),
    "schedule_free": lambda h: optax.contrib.schedule_free_adamw(h["lr"], b1=0.9),
    "clipped": lambda h: optax.chain(
        optax.clip_by_global_norm(h["clip"]), optax.sgd(h["lr"], momentum=0.9)
    ),
    "averaged": lambda h: optax.chain(optax.adam(h["lr"]), vt.weight_average(h["beta"])),
    "accumulated": lambda h: optax.MultiSteps(optax.adam(h["lr"]), every_k_schedule=2),
    "layered": lambda h: optax.multi_transform(
        {"first": optax.adam(h["lr"] * h["clip"]), "rest": optax.sgd(h["lr"])}, layers
    ),
    "lookahead": lambda h: optax.lookahead(optax.adam(h["lr"]), 3, slow_step_size=h["beta"]),
    "sophia": lambda h: optax.contrib.sophia(h["lr"], b1=h["beta"], update_interval=3),
    "private": lambda h: optax.chain(
        optax.contrib.differentially_private_aggregate(h["clip"], 0.5, key=3), optax.sgd(h["lr"])
    ),
    "cosine": lambda h: optax.adam(
        vt.schedules.cosine(h["lr"], h["total_steps"], warmup=h["warmup"], end=1e-4)
    ),
    "exponential": lambda h: optax.sgd(
        vt.schedules.exponential(h["lr"], h["total_steps"], decay=h["clip"], warmup=h["warmup"])
    ),
}
SPACE = {
    **LR,
    "beta": vt.Float(0.5, 0.95),
    "decay": vt.Float(1e-4, 1e-1, log=True),
    "clip": vt.Float(0.05, 0.5),
    "warmup": vt.Float(0.0, 0.5),
}


def transformation(name):
    def made(h):
        own = OPTIMIZERS[name](h)
        is_steps = isinstance(own, optax.MultiSteps)
        return own.gradient_transformation() if is_steps else own

    return made


def plain_loops(members, data, steps):
    """By optimizer (variables, validation loss) of its member, trained in a plain loop. All of
    them see the same batches, in one jitted step."""
    hs = {m.hparams["optimizer"]: {**m.hparams, "total_steps": steps} for m in members}
    keys = {m.hparams["optimizer"]: vt.member_key(0, m.index) for m in members}
    for h in hs.values():
        del h["optimizer"]
    loss = lambda params, batch: xent(MLP().apply({"params": params}, batch["x"]), batch, None)

    @jax.jit
    def begin(keys, x, hs):
        params = {name: MLP().init(key, x)["params"] for name, key in keys.items()}
        params["lookahead"] = optax.LookaheadParams.init_synced(params["lookahead"])
        return {
            name: (own, transformation(name)(hs[name]).init(own)) for name, own in params.items()
        }

    @jax.jit
    def step(states, batch, hs):
        after = {}
        for name, (params, opt_state) in states.items():
            mean = lambda params: loss(params, batch).mean()
            grads = jax.grad(mean)(params.fast if name == "lookahead" else params)
            if name == "private":
                alone = lambda params, row: loss(params, jax.tree.map(lambda a: a[None], row))[0]
                grads = jax.vmap(jax.grad(alone), in_axes=(None, 0))(params, batch)
            extra = {"obj_fn": mean} if name == "sophia" else {}
            updates, opt_state = transformation(name)(hs[name]).update(
                grads, opt_state, params, **extra
            )
            after[name] = optax.apply_updates(params, updates), opt_state
        return after

    states = begin(keys, data.arrays["x"][:1], hs)
    for batch in batches(data, 0, steps, BATCH):
        states = step(states, batch, hs)
    slow, _ = states["lookahead"]
    states["lookahead"] = slow.slow, None
    judge = jax.jit(
        lambda states, batch: {n: loss(p, batch).mean() for n, (p, _) in states.items()}
    )
    losses = judge(states, valid_batch(data))
    return {name: ({"params": params}, losses[name]) for name, (params, _) in states.items()}


@pytest.mark.slow
def test_every_optimizer_equals_a_plain_loop_in_one_sweep(x64):
    data = blobs()
    learner = vt.flax_learner(MLP(), optimizer=lambda h: OPTIMIZERS[h["optimizer"]](h), loss=xent)
    space = {**SPACE, "optimizer": vt.Categorical(list(OPTIMIZERS))}
    sweep = vt.tune(
        learner,
        space,
        data,
        search=vt.Halton(2 * len(OPTIMIZERS)),
        epochs=EPOCHS,
        batch_size=BATCH,
        layout=vt.Layout(devices=2),
    )
    members = sweep.members[len(OPTIMIZERS) :]
    expected = plain_loops(members, data, EPOCHS * (len(data.train) // BATCH))
    assert set(expected) == set(OPTIMIZERS)
    for member in members:
        variables, loss = expected[member.hparams["optimizer"]]
        own = {"params": getattr(member.state.params, "slow", member.state.params)}
        assert largest_difference(variables, own) < 1e-9, member
        assert float(loss) == pytest.approx(member.score, abs=1e-9)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


PRIVATE = OPTIMIZERS["private"]
NOT_BY_ROW = [
    (Normalised(), PRIVATE, r"a gradient a row, but training changes \['batch_stats'\].*GroupNorm"),
    (
        MLP(),
        lambda h: optax.multi_transform({"first": PRIVATE(h), "rest": optax.sgd(0.1)}, layers),
        r"returned an update \[16, 3\] for weights \[3\]; put differentially_private_aggregate",
    ),
]


@pytest.mark.parametrize(("model", "optimizer", "says"), NOT_BY_ROW)
def test_what_cannot_train_row_by_row_is_named(model, optimizer, says, compilations):
    data = blobs()
    learner = vt.flax_learner(model, optimizer=optimizer, loss=xent)
    with compilations() as made, pytest.raises(ValueError, match=says):
        vt.tune(learner, SPACE, data, search=vt.Halton(2), epochs=1, batch_size=BATCH)
    assert made.count == 0


def test_every_row_has_noise_of_its_own():
    """Rows of a batch that are alike have unlike dropout masks."""
    learner = vt.flax_learner(
        MLP(rate=0.5),
        optimizer=lambda h: PRIVATE({"clip": 1.0, "lr": 0.1}),
        batch_loss=lambda outputs, batch, h: outputs.sum(),
        train_metrics={
            "mean": vt.metrics.mean(lambda outputs, batch: outputs[:, 0]),
            "squares": vt.metrics.mean(lambda outputs, batch: outputs[:, 0] ** 2),
        },
    )
    batch = {"x": jnp.ones((8, 6)), "y": jnp.zeros(8, int)}

    @jax.jit
    def step(key):
        state = learner.init(key, {}, batch)
        return learner.step(key, {}, state, batch)[1]

    metrics = step(vt.member_key(0, 0))
    (total, rows), (squares, _) = metrics["mean"], metrics["squares"]
    assert rows == 8
    assert squares / rows - (total / rows) ** 2 > 1e-6


def test_an_optimizer_that_asks_for_gradients_gets_them(x64):
    """Sharpness-aware minimisation by a function of gradients is that by steps in turn."""
    data = blobs()
    swept = {}
    for opaque in (True, False):
        optimizer = lambda h, opaque=opaque: optax.contrib.sam(
            optax.sgd(h["lr"]), optax.sgd(0.05), sync_period=2, opaque_mode=opaque
        )
        learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent)
        options = {"search": vt.Halton(2), "batch_size": len(data.train)}  # one batch for both
        swept[opaque] = vt.tune(learner, LR, data, epochs=3 if opaque else 6, **options)
    for one, other in zip(swept[True], swept[False], strict=True):
        assert largest_difference(one.variables, other.variables) < 1e-9


@pytest.mark.parametrize("which", ["weight average", "schedule free"])
def test_judged_weights_may_be_others_than_trained_ones(x64, which):
    optimizer, show = {
        "weight average": (OPTIMIZERS["averaged"], vt.averaged),
        "schedule free": (
            OPTIMIZERS["schedule_free"],
            optax.contrib.schedule_free_eval_params,
        ),
    }[which]
    data = blobs()
    learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent, eval_params=show)
    space = {"lr": SPACE["lr"], "beta": SPACE["beta"]} if which[0] == "w" else LR
    sweep = vt.tune(learner, space, data, search=vt.Halton(3), epochs=EPOCHS, batch_size=BATCH)
    member = sweep[2]
    train = plain_loop(lambda h: MLP(), optimizer)
    variables, _, metrics = train(
        member.hparams, data, seed=0, id=2, steps=EPOCHS * 4, batch_size=BATCH, show=show
    )
    assert largest_difference(variables, member.variables) < 1e-9
    assert largest_difference(variables["params"], member.state.params) > 1e-4
    assert metrics["loss"] == pytest.approx(member.score, abs=1e-9)
    x = np.asarray(data.arrays["x"][:5])
    np.testing.assert_allclose(sweep.predict(x, 2), MLP().apply(variables, x), atol=1e-9)


def test_an_average_is_the_weighted_mean_of_all_weights():
    weights = [jnp.array([float(n), n**2]) for n in (1, 2, 5)]
    optimizer = vt.weight_average(0.8)
    state = optimizer.init(weights[0])
    np.testing.assert_array_equal(vt.averaged(state, weights[0]), weights[0])
    for before, after in zip([jnp.zeros(2), *weights], weights, strict=False):
        _, state = optimizer.update(after - before, state, before)
    share = 0.8 ** np.arange(3)[::-1]
    expected = np.average(np.stack(weights), axis=0, weights=share)
    np.testing.assert_allclose(vt.averaged(state, weights[-1]), expected, rtol=1e-6)


def test_an_average_of_small_types_is_kept_in_wider_ones():
    optimizer, weights = vt.weight_average(0.999), jnp.ones(3, jnp.bfloat16)
    state = optimizer.init(weights)
    for _ in range(200):
        _, state = optimizer.update(jnp.zeros_like(weights), state, weights)
    np.testing.assert_allclose(vt.averaged(state, weights), 1.0, rtol=1e-3)


SCHEDULES = {
    "cosine": (
        vt.schedules.cosine(0.1, 40, warmup=0.25, end=0.01),
        optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 40, 0.01),
    ),
    "cosine, no warm-up": (
        vt.schedules.cosine(0.1, 40, end=0.05),
        optax.cosine_decay_schedule(0.1, 40, alpha=0.5),
    ),
    "linear": (
        vt.schedules.linear(0.1, 40, warmup=0.25, start=0.02, end=0.01),
        optax.join_schedules(
            [optax.linear_schedule(0.02, 0.1, 10), optax.linear_schedule(0.1, 0.01, 30)], [10]
        ),
    ),
    "polynomial": (
        vt.schedules.polynomial(0.1, 40, power=3, end=0.01),
        optax.polynomial_schedule(0.1, 0.01, 3, 40),
    ),
    "exponential": (
        vt.schedules.exponential(0.1, 40, decay=0.2, warmup=0.25, end=0.03),
        optax.warmup_exponential_decay_schedule(0.0, 0.1, 10, 30, 0.2, end_value=0.03),
    ),
    "constant": (
        vt.schedules.constant(0.1, 40, warmup=0.25),
        optax.warmup_constant_schedule(0.0, 0.1, 10),
    ),
}


def test_schedules_are_those_of_optax(x64):
    steps = np.arange(50)
    values = jax.jit(
        lambda steps: {
            n: (jax.vmap(a)(steps), jax.vmap(b)(steps)) for n, (a, b) in SCHEDULES.items()
        }
    )(steps)
    for name, (own, reference) in values.items():
        until = 41 if name == "exponential" else 50  # Optax goes on falling
        np.testing.assert_allclose(own[:until], reference[:until], rtol=0, atol=1e-7, err_msg=name)


def test_schedules_take_traced_numbers_and_fractions_of_a_step():
    def at(step, peak, warmup, end):
        return vt.schedules.cosine(peak, 10, warmup=warmup, end=end)(step)

    values = jax.jit(jax.vmap(at, in_axes=(0, None, None, None)))(jnp.arange(12), 0.2, 0.25, 0.1)
    assert values[0] == 0
    assert float(values[2]) == pytest.approx(0.2 * 2 / 2.5)
    assert float(values[3]) == pytest.approx(0.1 + 0.05 * (1 + np.cos(np.pi * 0.5 / 7.5)))
    np.testing.assert_allclose(values[10:], 0.1, rtol=1e-6)
    for warmup in (0.0, 1.0):  # no warm-up, and nothing else
        slope = jax.grad(lambda w: at(3, 0.2, w, 0.1))(warmup)
        assert np.isfinite(slope)


PENALTIES = {
    "l1": lambda p, h: vt.penalties.l1(p, h["weight"]),
    "l2": lambda p, h: vt.penalties.l2(p, h["weight"], only="kernel"),
    "elastic": lambda p, h: vt.penalties.elastic_net(p, h["weight"], 0.3),
}


def test_a_penalised_member_equals_a_plain_loop(x64):
    """One sweep of all penalties, one plain loop that is told the number of its penalty."""
    data, optimizer = blobs(), OPTIMIZERS["sgd"]
    learner = vt.flax_learner(
        MLP(), optimizer=optimizer, loss=xent, penalty=lambda p, h: PENALTIES[h["penalty"]](p, h)
    )
    weight = vt.Float(1e-3, 1e-1, log=True)
    space = {**LR, "weight": weight, "penalty": vt.Categorical(list(PENALTIES))}
    sweep = vt.tune(learner, space, data, search=vt.Halton(6), epochs=2, batch_size=BATCH)

    def written_out(params, h):
        kernels = [layer["kernel"] for layer in params.values()]
        every = kernels + [layer["bias"] for layer in params.values()]
        absolute = sum(jnp.abs(w).sum() for w in every)
        by_name = {
            "l1": h["weight"] * absolute,
            "l2": h["weight"] * sum((w**2).sum() for w in kernels),
            "elastic": h["weight"] * (0.3 * absolute + 0.35 * sum((w**2).sum() for w in every)),
        }
        return jnp.stack([by_name[name] for name in PENALTIES])[h["penalty"].astype(int)]

    train = plain_loop(lambda h: MLP(), optimizer, None, xent, written_out)
    for member in sweep.members[3:]:
        h = {**member.hparams, "penalty": list(PENALTIES).index(member.hparams["penalty"])}
        variables, _, metrics = train(h, data, seed=0, id=member.index, steps=8, batch_size=BATCH)
        assert largest_difference(variables, member.variables) < 1e-9, member
        assert metrics["loss"] == pytest.approx(member.score, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: vt.schedules.cosine(0.1, 0), ValueError, r"cosine: steps=0 must be 1 or more"),
        (
            lambda: vt.schedules.linear(0.1, 100, warmup=10),
            ValueError,
            r"linear: warmup=10 must be from 0 to 1 \(a part of the steps, not their number\)",
        ),
        (lambda: vt.schedules.linear("0.1", 9), TypeError, r"peak='0.1' is not a number"),
        (
            lambda: vt.schedules.exponential(0.1, 9, decay=-1),
            ValueError,
            r"exponential: decay=-1 must be 0 or more",
        ),
        (lambda: vt.weight_average(1.0), ValueError, r"decay=1.0 must be 0 or more and below 1"),
        (
            lambda: vt.averaged(optax.adam(0.1).init(jnp.ones(2)), jnp.ones(2)),
            ValueError,
            r"the optimizer keeps no average; write optax.chain",
        ),
        (
            lambda: vt.penalties.l2({"Dense_0": {"kernel": jnp.ones(2)}}, 0.1, only="weight"),
            ValueError,
            r"only='weight' is in no parameter's path; there are Dense_0/kernel",
        ),
        (
            lambda: vt.flax_learner(
                MLP(), optimizer=OPTIMIZERS["sgd"], loss=xent, eval_params=lambda state: state
            ),
            TypeError,
            r"eval_params must take the arguments \(opt_state, params\)",
        ),
    ],
)
def test_wrong_parts_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()
