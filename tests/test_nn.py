import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import vtune as vt
from vtune.components.nn import drop

X = jnp.ones((50, 40))
KEY = jax.random.key(0)


def test_linen_dropout_has_the_bits_of_flax():
    cases = [(rate, dims) for rate in (0.2, 0.5, 0.9) for dims in ((), (0,))]

    @jax.jit
    def dropped():
        make = lambda kind, rate, dims: kind(rate, deterministic=False, broadcast_dims=dims)
        apply = lambda kind, case: make(kind, *case).apply({}, X, rngs={"dropout": KEY})
        return [(apply(vt.nn.Dropout, case), apply(nn.Dropout, case)) for case in cases]

    for ours, flax in dropped():
        np.testing.assert_allclose(ours, flax, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_nnx_dropout_has_the_bits_of_flax(rate):
    ours = vt.nn.Dropout(rate, rngs=nnx.Rngs(3))(X)
    flax = nnx.Dropout(rate, rngs=nnx.Rngs(3))(X)
    np.testing.assert_allclose(ours, flax, rtol=1e-6)


def test_rates_may_be_traced_and_reach_0_and_1():
    def apply(rate):
        return vt.nn.Dropout(rate, deterministic=False).apply({}, X, rngs={"dropout": KEY})

    out = jax.vmap(apply)(jnp.array([0.0, 0.5, 1.0]))
    assert jnp.array_equal(out[0], X)
    assert float(out[1].mean()) == pytest.approx(1.0, abs=0.1)
    assert not out[2].any()
    slope = jax.grad(lambda rate: apply(rate).sum())(1.0)
    assert jnp.isfinite(slope)


def test_deterministic_is_the_identity():
    assert vt.nn.Dropout(0.5).apply({}, X, deterministic=True) is X
    layer = vt.nn.Dropout(0.5, rngs=nnx.Rngs(0))
    layer.eval()
    assert layer(X) is X


@pytest.mark.parametrize("rate", [1.5, -0.5, jnp.nan])
def test_a_traced_rate_that_is_no_probability_ends_the_member(rate):
    dropped = jax.jit(drop)(jax.random.key(0), jnp.float32(rate), jnp.ones(8))
    assert jnp.isnan(dropped).all()
