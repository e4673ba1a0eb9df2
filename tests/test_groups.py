"""Convolutions of several members in groups: the numbers of vmap, and each member its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vtune import target
from vtune.xla.loops import side_by_side
from vtune.xla.ops import rewrite

MEMBERS, STEPS = 6, 2


@pytest.fixture(autouse=True)
def _float64(x64):
    pass


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch):
    monkeypatch.setattr(target, "platform", lambda: "gpu")


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


IMAGES = {"x": random(STEPS, 3, 8, 8, 2), "y": random(STEPS, 3, seed=1)}
WEIGHTS = {
    "first": random(MEMBERS, 3, 3, 2, 24, seed=2) / 4,
    "second": random(MEMBERS, 3, 3, 24, 40, seed=3) / 16,
    "last": random(MEMBERS, 1, 1, 40, 8, seed=4) / 8,
    "bias": random(MEMBERS, 24, seed=5),
}
RATES = np.geomspace(1e-3, 1e-1, MEMBERS)
SAME = {"padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def convolved(x, w, stride=1, **given):
    return lax.conv_general_dilated(x, w, (stride, stride), **SAME | given)


def pooled(x, start=-jnp.inf, reducer=lax.max):
    return lax.reduce_window(x, start, reducer, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def outputs(weights, x):
    """[rows] of a network with a bias, a normalisation, both poolings, a stride, a remat."""
    x = pooled(jax.nn.relu(convolved(x, weights["first"]) + weights["bias"][None, None, None]))
    x = jax.checkpoint(convolved, static_argnums=2)(x, weights["second"], 2)
    mean, variance = (f(x, (0, 1, 2), keepdims=True) for f in (jnp.mean, jnp.var))
    x = jax.nn.relu((x - mean) * lax.rsqrt(variance + 1e-3))
    x = convolved(pooled(x, 0.0, lax.add), weights["last"])
    return jnp.tanh(x).sum((1, 2, 3))


def training(loop):
    def one(weights, rate, batches=IMAGES):
        def step(i, batch, weights):
            loss = lambda w: ((outputs(w, batch["x"]) - batch["y"]) ** 2).mean()
            gradient = jax.grad(loss)(weights)
            return jax.tree.map(lambda w, g: w - rate * g, weights, gradient)

        return loop(STEPS, step, weights, jax.tree.map(jnp.asarray, batches))

    return one


def plain(steps, step, start, batches):
    at = lambda i: jax.tree.map(lambda leaf: leaf[i], batches)
    return lax.fori_loop(0, steps, lambda i, carried: step(i, at(i), carried), start)


def test_a_training_of_several_ends_where_vmap_does():
    ours = jax.jit(jax.vmap(training(side_by_side.fori_loop)))
    theirs = jax.jit(jax.vmap(training(plain)))(WEIGHTS, RATES)
    for name, got in ours(WEIGHTS, RATES).items():
        np.testing.assert_allclose(got, theirs[name], rtol=1e-9, atol=1e-12)
    # What one member makes of infinity reaches no other, and is not hidden from itself.
    spoilt = WEIGHTS | {"bias": np.where(np.arange(MEMBERS)[:, None] == 1, np.inf, WEIGHTS["bias"])}
    for name, got in ours(spoilt, RATES).items():
        assert not np.isfinite(got[1]).all()
        rest = np.arange(MEMBERS) != 1
        np.testing.assert_allclose(got[rest], theirs[name][rest], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "image", "window", "given"),
    [
        (("NCHW", "OIHW", "NCHW"), (2, 40, 5, 5), (48, 40, 3, 3), {"stride": 2}),
        (("CHWN", "IHWO", "HNWC"), (40, 7, 5, 2), (40, 3, 2, 24), {"rhs_dilation": (2, 1)}),
    ],
)
def test_convolutions_of_any_layout_and_their_gradients(spec, image, window, given):
    run = lambda x, w: convolved(x, w, **given | {"dimension_numbers": spec})

    def both(x, w):
        y, gradients = jax.vjp(run, x, w)
        return y, *gradients(jnp.cos(y))

    x, w = random(MEMBERS, *image), random(MEMBERS, *window, seed=1)
    traced = jax.make_jaxpr(both)(x[0], w[0])
    several = jax.vmap(lambda x, w: rewrite.evaluate_for_several(traced, (x, w)))
    for got, expected in zip(jax.jit(several)(x, w), jax.jit(jax.vmap(both))(x, w), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def convolutions(f, *args):
    """The parameters of the convolutions in a traced function."""
    return [e.params for e in jax.make_jaxpr(f)(*args).eqns if "conv_" in e.primitive.name]


def groups(f, *args):
    """The groups of the convolutions in a traced function: of channels, and of rows."""
    found = convolutions(f, *args)
    return [(p["feature_group_count"], p["batch_group_count"]) for p in found]


def test_each_member_is_a_group():
    x, w = random(4, 2, 8, 8, 16), random(4, 3, 3, 16, 32)
    gradients = lambda x, w: jax.vjp(convolved, x, w)[1](jnp.tile(x, (1, 1, 1, 2)))
    traced = jax.make_jaxpr(gradients)(x[0], w[0])
    several = jax.vmap(lambda x, w: rewrite.evaluate_for_several(traced, (x, w)))
    assert sorted(groups(several, x, w)) == [(1, 4), (4, 1)]


STRIDED = {
    "as in a ResNet": ((8, 8), (3, 3), {"stride": 2}),
    "of one place": ((8, 7), (1, 1), {"stride": 2}),
    "that leave inputs out": ((8, 7), (1, 2), {"stride": 3, "padding": "VALID"}),
    "wider than the stride": ((9, 11), (5, 1), {"stride": 2, "padding": ((1, 1), (2, 0))}),
    "of each axis": ((6, 7), (2, 3), {"window_strides": (3, 1), "padding": ((0, 2), (1, 1))}),
    "that see no padding": ((9, 9), (2, 4), {"stride": 2, "padding": ((-1, 0), (0, -1))}),
    "dilated": ((9, 9), (3, 3), {"stride": 2, "rhs_dilation": (2, 1)}),
    "transposed": ((4, 5), (2, 3), {"lhs_dilation": (2, 3), "padding": ((1, 1), (2, 2))}),
    "transposed, of one place": (
        (4, 5),
        (1, 1),
        {"lhs_dilation": (2, 1), "padding": ((0, 1),) * 2},
    ),
}


def with_gradients(size, window, stride=1, **given):
    """(traced, x, w): a convolution with its gradients, traced for one, and members' arrays."""
    given = {"window_strides": (stride, stride)} | SAME | given

    def both(x, w):
        y, gradients = jax.vjp(lambda x, w: lax.conv_general_dilated(x, w, **given), x, w)
        return y, *gradients(jnp.cos(y))

    x, w = random(MEMBERS, 2, *size, 3), random(MEMBERS, *window, 3, 4, seed=1)
    return both, x, w


def of_several(both, x, w):
    traced = jax.make_jaxpr(both)(x[0], w[0])
    return jax.vmap(lambda x, w: rewrite.evaluate_for_several(traced, (x, w)))


def test_strides_and_their_gradients():
    cases = {name: with_gradients(*size, **given) for name, (*size, given) in STRIDED.items()}
    arguments = {name: case[1:] for name, case in cases.items()}

    def all_of(change):
        return jax.jit(lambda given: {n: change(*cases[n])(*given[n]) for n in cases})(arguments)

    ours, theirs = all_of(of_several), all_of(lambda both, x, w: jax.vmap(both))
    for name, case in cases.items():
        for got, expected in zip(ours[name], theirs[name], strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9, err_msg=name)
        if name != "dilated":  # its windows meet inputs and zeros in turn
            found = convolutions(of_several(*case), *case[1:])
            assert {p["lhs_dilation"] for p in found} == {(1, 1)}, name
    one = cases["of one place"]
    found = convolutions(of_several(*one), *one[1:])
    assert {(p["window_strides"], p["rhs_dilation"]) for p in found} == {((1, 1), (1, 1))}


def test_factors_of_a_channel_are_taken_out_of_sums():
    """The gradient of a normalisation sums two arrays of images, not three."""

    def normalised(x, w, scale, bias):
        x = convolved(x, w)
        mean, square = x.mean((0, 1, 2)), (x**2).mean((0, 1, 2))
        factor = lax.rsqrt((square - mean**2)[None, None, None] + 1e-3) * scale[None, None, None]
        return jax.nn.relu((x - mean[None, None, None]) * factor + bias[None, None, None])

    def both(*args):
        y, gradients = jax.vjp(normalised, *args)
        return y, *gradients(jnp.cos(y))

    args = random(MEMBERS, 2, 8, 8, 3), random(MEMBERS, 3, 3, 3, 16, seed=1)
    args += random(MEMBERS, 16, seed=2), random(MEMBERS, 16, seed=3)
    traced = jax.make_jaxpr(both)(*(a[0] for a in args))
    ours = jax.vmap(lambda *args: rewrite.evaluate_for_several(traced, args))
    theirs = jax.vmap(both)
    for got, expected in zip(jax.jit(ours)(*args), jax.jit(theirs)(*args), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    assert (images_summed(theirs, *args), images_summed(ours, *args)) == (5, 4)


def images_summed(f, *args):
    """How many arrays of images are summed in a traced function."""
    equations = jax.make_jaxpr(f)(*args).eqns
    summed = {e.invars[0] for e in equations if e.primitive.name == "reduce_sum"}
    return sum(array.aval.size == MEMBERS * 2 * 8 * 8 * 16 for array in summed)
