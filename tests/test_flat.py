"""Narrow matrices in a loop: carried and computed flat, with the numbers they have anyway."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from loops import OPTIMIZERS

import vtune as vt
from vtune.xla.loops import flat

pytestmark = pytest.mark.slow


def training(make):
    """(body of a loop, its start): a network 96-16-10 on 8 rows."""
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(8, 96)), float), np.arange(8) % 10
    params = {
        "in": jnp.asarray(rng.normal(size=(96, 16)) / 10, float),
        "bias": jnp.zeros(16),
        "out": jnp.asarray(rng.normal(size=(16, 10)) / 4, float),
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


@pytest.mark.parametrize("side_by_side", [False, True])
def test_a_loop_ends_where_the_plain_one_does(x64, side_by_side):
    """With any optimizer; all of them in one program."""

    def run(loop, scale):
        ends = {}
        for name, make in OPTIMIZERS.items():
            body, (params, *rest) = training(make)
            params = jax.tree.map(lambda p: p * scale, params)
            params, state, key, total = loop.fori_loop(0, 7, body, (params, *rest))
            ends[name] = {"learned": (params, state, total), "key": jax.random.key_data(key)}
        return ends

    scales = jnp.array([1.0, 0.5]) if side_by_side else 1.0
    lift = jax.vmap if side_by_side else lambda f: f
    plain, ours = (jax.jit(lift(partial(run, loop)))(scales) for loop in (lax, flat))
    assert jax.tree.structure(plain) == jax.tree.structure(ours)
    for name in OPTIMIZERS:
        np.testing.assert_array_equal(plain[name]["key"], ours[name]["key"])
        pairs = zip(
            *(jax.tree.leaves(ends[name]["learned"]) for ends in (plain, ours)), strict=True
        )
        for theirs, own in pairs:
            assert (own.dtype, own.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_allclose(own, theirs, rtol=1e-9, atol=1e-11, err_msg=name)
        weights = ours[name]["learned"][0]["in"]
        assert np.ptp(np.asarray(weights)) > 0.1


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
        for loop in (lax, flat)
    ]
    assert traced[0] == traced[1]


def test_other_platforms_keep_their_matrices(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    loop = lambda s: flat.fori_loop(0, 3, lambda i, s: s * 2, s)
    (inside,) = bodies(jax.make_jaxpr(loop)(jnp.ones((64, 16))))
    assert (64, 16) in [v.aval.shape for v in inside.jaxpr.invars]


BODIES = [
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
]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_forms_of_arithmetic(dtype):
    start = jnp.asarray(np.random.default_rng(0).normal(size=(64, 16)), dtype)

    def run(loop, s):
        same_type = lambda body: lambda i, s: body(i, s).astype(dtype)
        return [loop.fori_loop(0, 3, same_type(body), s) for body in BODIES]

    plain, ours = (jax.jit(partial(run, loop))(start) for loop in (lax, flat))
    tolerance = 1e-6 if dtype == jnp.float32 else 0.02
    for number, (theirs, own) in enumerate(zip(plain, ours, strict=True)):
        assert theirs.dtype == own.dtype
        np.testing.assert_allclose(
            np.asarray(own, np.float32),
            np.asarray(theirs, np.float32),
            rtol=tolerance,
            atol=tolerance,
            err_msg=f"body {number}",
        )


def test_what_is_set_around_a_step_holds_within_the_loop():
    def body(i, carried):
        w, drawn = carried
        with jax.threefry_partitionable(False):
            return w, drawn + jax.random.uniform(jax.random.fold_in(jax.random.key(0), i), (7,))

    start = jnp.ones((64, 16)), jnp.zeros(7)
    ours, plain = (loop.fori_loop(0, 3, body, start)[1] for loop in (flat, lax))
    np.testing.assert_allclose(ours, plain, rtol=1e-6)


def test_a_sweep_trains_narrow_matrices_flat(monkeypatch):
    seen = []
    loop = lax.fori_loop
    monkeypatch.setattr(
        flat.lax,
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
