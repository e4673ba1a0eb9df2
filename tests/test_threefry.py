"""Straight threefry draws what JAX draws: the same bits, wherever `vt.rewrite` finds a draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import vtune as vt
from vtune.rng import threefry

SEEDS = st.integers(0, 2**32 - 1)


def key(seed, impl="threefry2x32"):
    return jax.random.key(jnp.uint32(seed), impl=impl)


def words(keys):
    return np.asarray(jax.random.key_data(keys))


def draws(f, *args):
    """How many draws are left in the equations of a function."""
    return str(jax.make_jaxpr(f)(*args)).count("random_bits")


CASES = st.tuples(
    SEEDS, arrays.array_shapes(min_dims=0, min_side=0, max_side=9), st.sampled_from([8, 16, 32])
)


@settings(max_examples=8)
@given(st.lists(CASES, min_size=5, max_size=5))
def test_bits_are_those_of_jax(cases):
    """Five shapes in one program."""

    @jax.jit
    def both(seeds):
        pairs = []
        for seed, (_, shape, width) in zip(seeds, cases, strict=True):
            theirs = jax.random.bits(key(seed), shape, f"uint{width}")
            pairs.append((threefry.bits(key(seed), shape, width), theirs))
        return pairs

    for ours, theirs in both([np.uint32(seed) for seed, _, _ in cases]):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_wide_bits_are_those_of_jax():
    with jax.enable_x64(True):
        ours, theirs = threefry.bits(key(3), (50,), 64), jax.random.bits(key(3), (50,), "uint64")
    assert ours.dtype == theirs.dtype == jnp.uint64
    np.testing.assert_array_equal(ours, theirs)


@jax.jit
def foldings(seed, numbers):
    """By how many of the numbers are folded in: by straight code, by JAX."""
    plain, pairs = key(seed), []
    for count in range(1, len(numbers) + 1):
        plain = jax.random.fold_in(plain, numbers[count - 1])
        ours = threefry.folded(key(seed), *numbers[:count])
        pairs.append((jax.random.key_data(ours), jax.random.key_data(plain)))
    return pairs


@given(SEEDS, st.lists(SEEDS, min_size=4, max_size=4))
def test_folding_is_that_of_jax(seed, numbers):
    for ours, theirs in foldings(np.uint32(seed), [np.uint32(n) for n in numbers]):
        np.testing.assert_array_equal(ours, theirs)


def drawn(key, x):
    """Much of `jax.random`, in branches and loops too."""
    a, b = jax.random.split(key)
    many = jax.random.split(jax.random.fold_in(key, x[3]), (3, 2))
    loop = lambda total, key: (total + jax.random.uniform(key), jax.random.bits(key, (2,)))
    return {
        "normal": jax.random.normal(a, (4, 3)),
        "truncated": jax.random.truncated_normal(b, -1, 1, (3, 3)),
        "bernoulli": jax.random.bernoulli(b, 0.3, (50,)),
        "permutation": jax.random.permutation(b, x),
        "choice": jax.random.choice(a, x, (3,), replace=False),
        "randint": jax.random.randint(a, (3,), 0, 9),
        "poisson": jax.random.poisson(a, 2.0, (4,)),
        "gamma": jax.random.gamma(a, 2.0, (3,)),
        "keys": jax.random.key_data(many),
        "each": jax.vmap(lambda key: jax.random.normal(key, (2,)))(many[0]),
        "scan": jax.lax.scan(loop, 0.0, many[:, 0]),
        "cond": jax.lax.cond(x[0] > 0, jax.random.uniform, jax.random.normal, a),
        "remat": jax.checkpoint(lambda key: jax.random.normal(key, (2,)))(a),
    }


def test_lowered_functions_draw_the_same():
    """Of one key, and of three under vmap."""
    lowered = vt.rewrite(drawn)

    @jax.jit
    def run(keys, x):
        over_keys = lambda f: jax.vmap(f, in_axes=(0, None))(keys, x)
        alone = lowered(keys[0], x), drawn(keys[0], x)
        return {"alone": alone, "vmap": (over_keys(lowered), over_keys(drawn))}

    for ours, theirs in run(jax.random.split(key(5), 3), np.arange(20)).values():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-6), ours, theirs)
        for name in ("keys", "permutation", "choice", "randint", "bernoulli", "poisson"):
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_the_draws_of_single_keys_are_replaced():
    sample = lambda key: jax.random.normal(jax.random.split(key)[0], (3,))
    assert draws(sample, key(0)) > 0
    assert draws(vt.rewrite(sample), key(0)) == 0
    assert draws(vt.rewrite(sample, "none"), key(0)) > 0
    # without jit too
    np.testing.assert_allclose(vt.rewrite(sample)(key(0)), sample(key(0)), rtol=3e-6)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_keys_stay_as_they_are(impl):
    own = key(3, impl)
    sample = lambda key: jax.random.normal(jax.random.fold_in(key, 1), (3,))
    np.testing.assert_array_equal(vt.rewrite(sample)(own), sample(own))
    np.testing.assert_array_equal(threefry.bits(own, (3,)), jax.random.bits(own, (3,)))
    folded = jax.random.fold_in(jax.random.fold_in(own, 1), 2)
    np.testing.assert_array_equal(words(threefry.folded(own, 1, 2)), words(folded))


def test_another_rule_of_jax_for_places_is_left_to_jax():
    jax.config.update("jax_threefry_partitionable", False)
    try:
        ours, theirs = threefry.bits(key(3), (5,)), jax.random.bits(key(3), (5,), "uint32")
        lowered = vt.rewrite(lambda key: jax.random.split(key, 3))(key(3))
        split = jax.random.split(key(3), 3)
    finally:
        jax.config.update("jax_threefry_partitionable", True)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(words(lowered), words(split))
    assert not np.array_equal(theirs, jax.random.bits(key(3), (5,), "uint32"))  # it is another rule


def test_a_rule_set_within_a_function_holds_there():
    def sample(key):
        with jax.threefry_partitionable(False):
            first = jax.random.bits(key, (5,))
            loop = jax.lax.map(lambda key: jax.random.bits(key, (5,)), jax.random.split(key, 2))
        return first, loop, jax.random.bits(key, (5,))

    ours, theirs = vt.rewrite(sample)(key(3)), sample(key(3))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert not np.array_equal(theirs[0], theirs[2])  # it is another rule
