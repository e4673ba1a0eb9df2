"""Narrow matrices in a loop: carried and computed flat, with the numbers they have anyway."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import vtune as vt
from vtune.xla.loops import flat

OPTIMIZERS = {
    "adam": lambda: optax.adam(0.01),
    "adamw, matrices only": lambda: optax.adamw(
        0.01, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    ),
    "momentum, clipped": lambda: optax.chain(
        optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.9, nesterov=True)
    ),
    "adafactor": lambda: optax.adafactor(0.01, min_dim_size_to_factor=8),
    "lamb": lambda: optax.lamb(0.01),
    "muon": lambda: optax.contrib.muon(0.01),
    "every second step": lambda: optax.MultiSteps(optax.rmsprop(0.01), 2).gradient_transformation(),
    "where it is finite": lambda: optax.apply_if_finite(optax.lion(0.01), 3),
}


def training(make):
    """(body of a loop, its start): a network 96-16-10 on 8 rows."""
    x = jax.random.normal(jax.random.key(0), (8, 96), float)
    y = jnp.arange(8) % 10
    keys = jax.random.split(jax.random.key(1), 2)
    params = {
        "in": jax.random.normal(keys[0], (96, 16), float) / 10,
        "bias": jnp.zeros(16),
        "out": jax.random.normal(keys[1], (16, 10), float) / 4,
    }

    def loss(params, keep):
        hidden = jax.nn.relu(x @ params["in"] + params["bias"][None])
        logits = jnp.where(keep, hidden, 0.0) @ params["out"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    optimizer = make()

    def body(i, carried):
        params, state, key, total = carried
        key, own = jax.random.split(key)
        keep = jax.random.bernoulli(own, 0.8, (8, 16))
        value, grads = jax.value_and_grad(loss)(params, keep)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, key, total + value

    return body, (params, optimizer.init(params), jax.random.key(2), jnp.zeros(()))


def bodies(closed):
    """The loops' bodies within a traced function."""
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name == "scan":  # a loop so many times
            yield equation.params["jaxpr"]


def computed(closed, shape):
    """What primitives make an array of this shape, within calls too."""
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name == "jit":
            yield from computed(equation.params["jaxpr"], shape)
        elif any(out.aval.shape == shape for out in equation.outvars):
            yield equation.primitive.name


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("side_by_side", [False, True])
def test_a_loop_ends_where_the_plain_one_does(x64, name, side_by_side):
    body, start = training(OPTIMIZERS[name])
    ran = {}
    for loop in (lax, narrow):
        run = lambda scale, loop=loop: loop.fori_loop(
            0, 7, body, (jax.tree.map(lambda p: p * scale, start[0]), *start[1:])
        )
        if side_by_side:
            ran[loop] = jax.jit(jax.vmap(run))(jnp.array([1.0, 0.5]))
        else:
            ran[loop] = jax.jit(run)(1.0)
    (plain, flat), key = ran.values(), 2
    assert jax.tree.structure(plain) == jax.tree.structure(flat)
    np.testing.assert_array_equal(*(jax.random.key_data(end[key]) for end in (plain, flat)))
    pairs = zip(*(jax.tree.leaves((*end[:key], end[3])) for end in (plain, flat)), strict=True)
    for ours, theirs in pairs:
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    assert np.ptp(np.asarray(flat[0]["in"])) > 0.1


def test_what_is_narrow_is_carried_and_computed_flat():
    body, start = training(OPTIMIZERS["adam"])
    (inside,) = bodies(jax.make_jaxpr(lambda s: flat.fori_loop(0, 7, body, s))(start))
    carried = [v.aval.shape for v in inside.jaxpr.invars]
    assert carried.count((96 * 16,)) == 3  # weights and two moments
    assert (96, 16) not in carried
    assert carried.count((16, 10)) == 3  # too few numbers to matter
    # The weights are used as a matrix, and their gradient is made as one.
    assert set(computed(inside, (96, 16))) <= {"reshape", "transpose"}
    assert {"mul", "add", "sqrt", "div"} <= set(computed(inside, (96 * 16,)))
    assert set(computed(inside, (8, 16)))  # nothing of this shape is carried
    assert not set(computed(inside, (8 * 16,)))


def test_what_calls_compute_is_flat_too():
    body = lambda i, s: jax.jit(lambda s: jnp.where(s > 0, s * 2, -s))(s)
    traced = jax.make_jaxpr(lambda s: flat.fori_loop(0, 3, body, s))(jnp.ones((64, 16)))
    (inside,) = bodies(traced)
    assert set(computed(inside, (64, 16))) <= {"reshape"}
    assert {"gt", "mul", "neg", "select_n"} <= set(computed(inside, (1024,)))


@pytest.mark.parametrize("leaf", ["wide", "whole numbers", "few", "a row"])
def test_the_rest_is_left_as_it_is(leaf):
    start = {
        "wide": jnp.ones((32, 48)),
        "whole numbers": jnp.ones((64, 16), int),
        "few": jnp.ones((63, 16)),
        "a row": jnp.ones(1024),
    }[leaf]
    traced = [
        str(jax.make_jaxpr(lambda s, loop=loop: loop.fori_loop(0, 3, lambda i, s: s * 2, s))(start))
        for loop in (lax, narrow)
    ]
    assert traced[0] == traced[1]


def test_other_platforms_keep_their_matrices(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    loop = lambda s: flat.fori_loop(0, 3, lambda i, s: s * 2, s)
    (inside,) = bodies(jax.make_jaxpr(loop)(jnp.ones((64, 16))))
    assert (64, 16) in [v.aval.shape for v in inside.jaxpr.invars]


@pytest.mark.parametrize(
    "body",
    [
        lambda i, s: s * 2 + 1,
        lambda i, s: jnp.where(i == 1, s, -s),
        lambda i, s: jnp.where(s > 1, s, 0.5),
        lambda i, s: jnp.clip(s, -0.5, 0.5),
        lambda i, s: s + i,
        lambda i, s: s - s.mean(0)[None],
        lambda i, s: s + jnp.arange(16.0)[None],
        lambda i, s: s.at[3].set(0.0),
        lambda i, s: lax.cond(i > 1, lambda s: s * 2, lambda s: s, s),
        lambda i, s: lax.fori_loop(0, 3, lambda j, s: s + j, s),
        lambda i, s: jnp.ones((64, 16)),
        lambda i, s: s,
        lambda i, s: jax.jit(lambda s: jax.nn.relu(s) + jnp.ones((64, 16)))(s),
        lambda i, s: s[::-1] + lax.full((64, 16), 2.0),
        lambda i, s: (s.astype(jnp.bfloat16) * 3).astype(s.dtype),
        lambda i, s: jnp.sort(s, axis=1) + jnp.cumsum(s, axis=0),
        lambda i, s: s.reshape(16, 64).T,
        lambda i, s: s + jax.nn.one_hot(i + jnp.arange(64), 16),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_forms_of_arithmetic(body, dtype):
    start = jax.random.normal(jax.random.key(0), (64, 16), dtype)
    own = lambda i, s: body(i, s).astype(dtype)
    plain, flat = (
        jax.jit(lambda s, loop=loop: loop.fori_loop(0, 3, own, s))(start) for loop in (lax, narrow)
    )
    assert plain.dtype == flat.dtype
    tolerance = 1e-6 if dtype == jnp.float32 else 0.02
    np.testing.assert_allclose(
        *(np.asarray(end, np.float32) for end in (flat, plain)), rtol=tolerance, atol=tolerance
    )


def test_what_is_set_around_a_step_holds_within_the_loop():
    def body(i, carried):
        w, drawn = carried
        with jax.threefry_partitionable(False):
            return w, drawn + jax.random.uniform(jax.random.fold_in(jax.random.key(0), i), (7,))

    start = jnp.ones((64, 16)), jnp.zeros(7)
    flat, plain = (loop.fori_loop(0, 3, body, start)[1] for loop in (narrow, lax))
    np.testing.assert_allclose(flat, plain, rtol=1e-6)


def test_a_sweep_trains_narrow_matrices_flat(monkeypatch):
    seen = []
    loop = lax.fori_loop
    monkeypatch.setattr(
        narrow.lax,
        "fori_loop",
        lambda *args: seen.extend(jnp.shape(s) for s in jax.tree.leaves(args[3])) or loop(*args),
    )
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.ones((64, 16)),
        step=lambda key, h, w, batch: (w - h["lr"] * w, {}),
        measure=lambda key, h, w, batch, weight: (w**2).sum(),
        score=lambda total: {"loss": total},
    )
    sweep = vt.tune(learner, {"lr": vt.Float(0.1, 0.5)}, search=vt.Halton(3), steps=2)
    assert (1024,) in seen
    for member in sweep:
        expected = 1024 * (1 - member.hparams["lr"]) ** 4
        np.testing.assert_allclose(member.history["loss"][-1], expected, rtol=1e-5)
