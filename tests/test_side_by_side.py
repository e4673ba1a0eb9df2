"""Members in one loop: the numbers of a loop that anyone would write, and no weight is turned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vtune import target
from vtune.xla.loops import side_by_side
from vtune.xla.ops.rewrite import rewrite, rewrite_once

MEMBERS, SEEDS, STEPS, BATCH, IN, WIDTH = 3, 2, 5, 8, 7, 4


@pytest.fixture(autouse=True)
def _float64(x64):
    pass


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


BATCHES = {"x": random(STEPS, BATCH, IN), "t": random(STEPS, BATCH, seed=1)}
WEIGHTS = random(MEMBERS, SEEDS, IN, WIDTH, seed=2)
RATES = jnp.asarray([0.1, 0.2, 0.3])
NOISE = random(SEEDS, WIDTH, seed=3)


def training(loop, batches, steps=STEPS, kind=float):
    """(weights, rate, noise) -> (weights, momentum, loss) of one training, by a loop; `kind` is
    that of the arithmetic."""

    def one(weights, rate, noise):
        def step(i, batch, carried):
            weights, momentum, total = carried

            def loss(weights):
                product = batch["x"].astype(kind) @ weights.astype(kind)
                out = jnp.tanh(product + noise[None]).sum(-1)
                return ((out - batch["t"]) ** 2).mean()

            value, gradient = jax.value_and_grad(loss)(weights)
            momentum = 0.9 * momentum + gradient
            return weights - rate * momentum, momentum, total + value * (i + 1)

        start = weights, jnp.zeros_like(weights), jnp.zeros(())
        return loop(steps, step, start, batches)

    return one


def plain(steps, step, start, batches):
    """The loop as anyone would write it."""
    at = lambda i: jax.tree.map(lambda leaf: leaf[i], batches)
    return lax.fori_loop(0, steps, lambda i, carried: step(i, at(i), carried), start)


def lifted(one):
    """One training -> all seeds of all members; the rate is a member's, the noise a seed's."""
    return jax.vmap(jax.vmap(one, (0, None, 0)), (0, 0, None))


def carried_shapes(f, *args):
    """The shapes that the loops in a traced function carry."""
    shapes = set()

    def look(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("while", "scan"):
                shapes.update(var.aval.shape for var in equation.outvars)
            for body in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
            ):
                inner = getattr(body, "jaxpr", body)
                if hasattr(inner, "eqns"):
                    look(inner)

    look(jax.make_jaxpr(f)(*args).jaxpr)
    return shapes


@pytest.mark.parametrize(
    ("steps", "kind"), [(STEPS, "float64"), ("traced", "float64"), (STEPS, "float32")]
)
def test_members_and_seeds_are_one_axis_where_the_product_wants_it(steps, kind):
    number = jnp.asarray(STEPS) if steps == "traced" else steps
    ours = lifted(training(side_by_side.fori_loop, BATCHES, number, kind))
    theirs = lifted(training(plain, BATCHES, kind=kind))
    for got, expected in zip(
        jax.jit(ours)(WEIGHTS, RATES, NOISE), jax.jit(theirs)(WEIGHTS, RATES, NOISE), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12 if kind == "float64" else 1e-5)
    shapes = carried_shapes(ours, WEIGHTS, RATES, NOISE)
    assert (IN, MEMBERS * SEEDS, WIDTH) in shapes
    assert not {(MEMBERS, SEEDS, IN, WIDTH), (MEMBERS * SEEDS, IN, WIDTH)} & shapes


def test_trainings_with_batches_of_their_own_stay_as_vmap_makes_them():
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), BATCHES)  # of two folds

    def of_folds(loop):
        one = lambda weights, rate, batches: training(loop, batches)(weights, rate, NOISE[0])
        return jax.vmap(jax.vmap(one, (0, None, 0)), (0, 0, None))

    ours, theirs = of_folds(side_by_side.fori_loop), of_folds(plain)
    for got, expected in zip(
        jax.jit(ours)(WEIGHTS, RATES, two), jax.jit(theirs)(WEIGHTS, RATES, two), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def of_label(scores, labels):
    return jnp.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]


@pytest.mark.parametrize("chip", ["gpu", "tpu"])
def test_the_output_of_the_true_label_is_picked_by_comparisons_on_a_chip(chip, monkeypatch):
    scores, labels = random(5, 4), jnp.asarray([0, 3, -1, 2, 9])  # the last is out of range
    scores = scores.at[0, 1].set(jnp.inf).at[1, 0].set(jnp.nan)  # of other labels
    expected = of_label(scores, labels), jax.jacobian(of_label)(scores[:4], labels[:4])
    monkeypatch.setattr(target, "platform", lambda: chip)
    for rewritten in (rewrite(of_label), rewrite_once(of_label)):
        assert np.isnan(expected[0][4])
        np.testing.assert_array_equal(rewritten(scores, labels), expected[0])
        np.testing.assert_array_equal(jax.jacobian(rewritten)(scores[:4], labels[:4]), expected[1])
        text = str(jax.make_jaxpr(jax.grad(lambda s, f=rewritten: f(s, labels).sum()))(scores))
        assert "gather" not in text.replace("mode=GatherScatterMode", "")
        assert "scatter" not in text.lower().replace("gatherscattermode", "")


def pooled(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def test_poolings_are_replaced_on_a_gpu_and_stay_on_a_tpu(monkeypatch):
    x = random(2, 4, 4, 3)
    for chip, stays in (("gpu", False), ("tpu", True)):
        monkeypatch.setattr(target, "platform", lambda chip=chip: chip)
        text = str(jax.make_jaxpr(rewrite(pooled))(x))
        assert ("reduce_window" in text) == stays
        np.testing.assert_array_equal(rewrite(pooled)(x), pooled(x))


def test_on_a_tpu_the_loop_has_arrays_of_its_own(monkeypatch):
    """Copies of all bits, where steps are enough to pay for them and weights fit on the chip."""
    # Made anew each time, since JAX keeps what it has traced.
    several = lambda: jax.vmap(training(side_by_side.fori_loop, BATCHES), (0, 0, None))
    args = WEIGHTS[:, 0].at[1, 0, 0].set(jnp.nan), RATES, NOISE[0]
    expected = jax.jit(several())(*args)
    for chip, least, most, copied in (
        ("gpu", 1, 2**20, 0),
        ("tpu", STEPS + 1, 2**20, 0),
        ("tpu", STEPS, args[0].nbytes - 1, 0),
        ("tpu", STEPS, args[0].nbytes, 3),
    ):
        monkeypatch.setattr(target, "platform", lambda chip=chip: chip)
        monkeypatch.setattr(side_by_side, "LEAST_STEPS", least)
        monkeypatch.setattr(side_by_side, "ON_CHIP", most)
        assert str(jax.make_jaxpr(several())(*args)).count("optimization_barrier") == copied
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), BATCHES)  # of two folds
    one = lambda batches: training(side_by_side.fori_loop, batches)
    folds = jax.vmap(lambda batches: jax.vmap(one(batches), (0, 0, None))(*args))
    assert "optimization_barrier" not in str(jax.make_jaxpr(folds)(two))
    for got, wanted in zip(jax.jit(several())(*args), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(np.isnan(wanted), [False, True, False])
