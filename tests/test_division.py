"""Divisions by one number as multiplications: the same values for any number, and none left."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vtune as vt
from vtune.xla.ops import division
from vtune.xla.ops.rewrite import rewrite_update

OPTIMIZERS = {
    "adam": lambda: optax.adam(0.01),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.01)),
    "every second step": lambda: optax.MultiSteps(optax.adam(0.01), 2).gradient_transformation(),
    "with noise": lambda: optax.chain(optax.add_noise(0.1, 0.5, 3), optax.nadam(0.01)),
    "line search": lambda: optax.lbfgs(),
}
PARAMS = {"w": np.linspace(-1.0, 2.0, 48).reshape(12, 4), "b": np.linspace(0.5, 1.0, 4)}


def loss(params):
    return jnp.sum(jnp.cosh(params["w"])) + jnp.sum((params["b"] - 3.0) ** 4) / 7


def trained(change):
    """By optimizer the weights and its state after four steps; all of them in one program."""
    optimizers = {name: optax.with_extra_args_support(make()) for name, make in OPTIMIZERS.items()}

    def one_step(optimizer, params, state):
        value, grads = jax.value_and_grad(loss)(params)
        update = change(optimizer.update)
        updates, state = update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def run(params):
        start = {name: (params, optimizer.init(params)) for name, optimizer in optimizers.items()}
        step = lambda _, states: {n: one_step(optimizers[n], *own) for n, own in states.items()}
        return jax.lax.fori_loop(0, 4, step, start)

    states = run(jax.tree.map(jnp.asarray, PARAMS))
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, states)


def divisions(closed):
    """[(shape of the divided, of the divisor)] in a traced function, within calls too."""
    found = []
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name == "div":
            found.append(tuple(v.aval.shape for v in equation.invars))
        for value in equation.params.values():
            for body in value if isinstance(value, tuple) else (value,):
                if hasattr(body, "jaxpr"):
                    found += divisions(body)
    return found


def test_optimizers_go_where_they_went(x64):
    every, ours = trained(lambda update: update), trained(rewrite_update)
    for name, plain in every.items():
        assert jax.tree.structure(plain) == jax.tree.structure(ours[name])
        for theirs, own in zip(jax.tree.leaves(plain), jax.tree.leaves(ours[name]), strict=True):
            assert (theirs.dtype, theirs.shape) == (own.dtype, own.shape)
            np.testing.assert_allclose(own, theirs, rtol=1e-10, atol=1e-12, err_msg=name)
        assert np.abs(np.asarray(plain[0]["w"]) - PARAMS["w"]).max() > 1e-3


def by_one(closed):
    """The shapes of arrays that are divided by one number."""
    return [divided for divided, divisor in divisions(closed) if divided and not divisor]


@pytest.mark.parametrize("name", ["adam", "clipped", "every second step", "with noise"])
@pytest.mark.parametrize(("lowering", "left"), [("auto", 0), ("winograd", 0), ("none", 2)])
def test_no_weights_are_divided_by_one_number(name, lowering, left):
    optimizer = OPTIMIZERS[name]()  # MultiSteps divides within a branch
    params = jax.tree.map(jnp.asarray, PARAMS)
    update = rewrite_update(optimizer.update, lowering)
    state = jax.eval_shape(optimizer.init, params)
    traced = jax.make_jaxpr(update)(params, state, params)
    assert len(by_one(traced)) >= left * len(params)
    assert left or not by_one(traced)
    assert ((12, 4), (12, 4)) in divisions(traced)  # by the root of the second moment


def test_a_learner_lowers_its_optimizer_and_not_its_loss():
    def scaled(outputs, batch, h):
        return jnp.square(outputs / h["scale"]).sum(-1)

    learner = vt.flax_learner(nn.Dense(3), optimizer=lambda h: optax.adam(h["lr"]), loss=scaled)
    batch = {"x": jnp.ones((5, 4))}
    h = {"lr": jnp.float32(0.1), "scale": jnp.float32(2.0)}
    key = jax.random.key(0)
    state = jax.eval_shape(learner.init, key, h, batch)
    traced = jax.make_jaxpr(learner.step)(key, h, state, batch)
    assert (5, 3) in by_one(traced)  # the loss's own
    assert not {(4, 3), (3,)} & {*by_one(traced)}  # the weights' shapes


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_any_number_divides_as_it_does(x64, kind):
    tiny, most = float(np.finfo(kind).tiny), float(np.finfo(kind).max)
    ends = [0.0, 2 * tiny, 1e-30, 3e-7, 0.3, 1.0, 7.0, 9e5, 2e30, most / 3, most, np.inf, np.nan]
    x = np.asarray([*ends, *(-e for e in ends)], kind)
    ours = jax.jit(lambda x, y: division.divide(x, y, {}))
    for y in map(np.dtype(kind).type, x):
        with np.errstate(all="ignore"):
            plain = x / y
        got = np.asarray(ours(x, y))
        assert got.dtype == plain.dtype
        eps = float(np.finfo(kind).eps)
        np.testing.assert_allclose(got, plain, rtol=2 * eps, atol=4 * tiny, err_msg=f"by {y}")


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (jnp.ones(3), jnp.ones(3)),
        (jnp.ones(()), jnp.ones(())),
        (jnp.arange(3), jnp.int32(2)),
        (jnp.ones(3, jnp.bfloat16), jnp.bfloat16(3)),
        (jnp.ones(3, jnp.complex64), jnp.complex64(2)),
    ],
    ids=["by as many", "one by one", "whole", "half precision", "complex"],
)
def test_other_divisions_stay(x, y):
    assert division.divide(x, y, {}) is None
