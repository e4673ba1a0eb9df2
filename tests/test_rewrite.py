"""Rewritten functions equal the original ones: value and gradient, to 1e-10 in float64."""

import itertools
import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import vtune as vt
from vtune.xla.ops import convolution, shift_add
from vtune.xla.ops.algorithm import Limits
from vtune.xla.ops.rewrite import rewrite_once

pytestmark = pytest.mark.slow

LAYOUTS = {
    1: [("NWC", "WIO", "NWC"), ("NCW", "OIW", "WNC")],
    2: [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("CHWN", "IHWO", "HNWC")],
    3: [("NDHWC", "DHWIO", "NDHWC"), ("NCDHW", "OIDHW", "NCDHW")],
}
SQUARE = (1, 1, 2, 2)
WINDOWED = ("conv_general_dilated", "reduce_window", "select_and_")


@pytest.fixture(autouse=True)
def _float64(x64):
    pass


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def windowed(jaxpr):
    """The windowed operations in a jaxpr."""
    text = str(jaxpr)
    return [name for name in WINDOWED if f" {name}" in text]


def left_in(f, *args):
    """The windowed operations in a traced function."""
    return windowed(jax.make_jaxpr(f)(*args))


def weighed(f):
    """(value, gradients) of f, for a scalar that weighs all outputs differently."""

    def scalar(*args):
        out = f(*args)
        parts = jax.tree.map(lambda a: jnp.sum(a * random(a.shape, 7)), out)
        return sum(jax.tree.leaves(parts)), out

    return lambda *args: jax.value_and_grad(scalar, tuple(range(len(args))), has_aux=True)(*args)


close = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


def assert_all_same(*cases):
    """Every case (f, args): value and gradients are those of the original function, and no
    windowed operation is left. All cases are one program, their originals another."""
    arguments = [args for _, args in cases]

    def traced(change):
        together = lambda arguments: [
            weighed(change(f))(*args) for (f, _), args in zip(cases, arguments, strict=True)
        ]
        return jax.jit(together).trace(arguments)

    for f, args in cases:
        assert left_in(f, *args)
    ours, theirs = traced(vt.rewrite), traced(lambda f: f)
    assert not windowed(ours.jaxpr)
    ours, theirs = (one.lower().compile()(arguments) for one in (ours, theirs))
    for number, pair in enumerate(zip(ours, theirs, strict=True)):
        jax.tree.map(partial(close, err_msg=f"case {number}"), *pair)


def assert_same(f, *args):
    assert_all_same((f, args))


@st.composite
def convolutions(draw):
    """Shapes of input and kernel, and the arguments of lax.conv_general_dilated."""
    rank = draw(st.integers(1, 3))
    several = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))
    groups, row_groups = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2)]))
    inner, outer = draw(st.integers(1, 2)), draw(st.integers(1, 2)) * groups * row_groups
    names = draw(st.sampled_from(LAYOUTS[rank]))
    spread = several(1, 3) if draw(st.booleans()) else (1,) * rank
    edges = st.tuples(st.integers(-1, 2), st.integers(-1, 2))
    padding = draw(st.lists(edges, min_size=rank, max_size=rank))
    if set(spread) == {1}:
        padding = draw(st.sampled_from(["SAME", "VALID", padding]))
    options = {
        "window_strides": several(1, 3),
        "padding": padding,
        "lhs_dilation": spread,
        "rhs_dilation": several(1, 2),
        "dimension_numbers": names,
        "feature_group_count": groups,
        "batch_group_count": row_groups,
    }
    sizes = dict(zip(names[0].replace("N", "").replace("C", ""), several(3, 6), strict=True))
    x = [{"N": 2 * row_groups, "C": inner * groups, **sizes}[axis] for axis in names[0]]
    window = dict(zip(names[0].replace("N", "").replace("C", ""), several(1, 3), strict=True))
    w = [{"I": inner, "O": outer, **window}[axis] for axis in names[1]]
    return tuple(x), tuple(w), options


def assert_convolutions_are_the_same(cases):
    computed = []
    for x_shape, w_shape, options in cases:
        f = lambda x, w, options=options: lax.conv_general_dilated(x, w, **options)
        x, w = random(x_shape), random(w_shape, 1)
        try:
            out = jax.eval_shape(f, x, w).shape
        except ValueError:  # negative padding of more than there is
            continue
        if 0 in out:
            assert jax.eval_shape(vt.rewrite(f), x, w).shape == out
        else:
            computed.append((f, (x, w)))
    if computed:
        assert_all_same(*computed)


# Five cases in one program, since compiling takes nearly all the time.
five = lambda cases: st.lists(cases, min_size=5, max_size=5)


@settings(max_examples=12)
@given(five(convolutions()))
def test_convolutions(cases):
    assert_convolutions_are_the_same(cases)


def limit_memory(monkeypatch, size):
    """Every convolution is computed in pieces of so many bytes."""
    limited = tuple(a._replace(limits=Limits(size, size)) for a in convolution.ALGORITHMS)
    monkeypatch.setattr(convolution, "ALGORITHMS", limited)


@pytest.mark.parametrize("piece", [1, 25000, 10**9], ids=["a row", "some rows", "all rows"])
def test_rows_in_pieces(piece, monkeypatch):
    """The patches or strips of a few rows at a time, made again for the gradient."""
    limit_memory(monkeypatch, piece)
    cases = []
    for groups, outer in [(1, 9), (1, 2), (2, 2)]:
        f = lambda x, w, groups=groups: lax.conv_general_dilated(
            x, w, (2, 1), "SAME", dimension_numbers=LAYOUTS[2][0], feature_group_count=groups
        )
        x, w = random((6, 5, 12, 4)), random((3, 3, 4 // groups, outer), 1)
        text = str(jax.make_jaxpr(vt.rewrite(f))(x, w))
        assert ("scan[" in text) == (piece < 10**9)
        cases.append((f, (x, w)))
    assert_all_same(*cases)


def products(f, *args):
    """The products of matrices in a traced function."""
    return str(jax.make_jaxpr(f)(*args)).count(" dot_general[")


def test_what_nothing_comes_of_is_left_out():
    """A model that is called for its weights alone."""

    def first_weights(x, w):
        jax.lax.conv(x, w, (1, 1), "SAME")
        return 2 * w

    x, w = random((2, 3, 8, 8)), random((4, 3, 3, 3), 1)
    (last,) = jax.make_jaxpr(vt.rewrite(first_weights))(x, w).eqns
    assert last.primitive.name == "mul"
    assert_same(first_weights, x, w)


def largest(f, *args):
    """The most numbers of any array in a traced function."""
    return max(
        math.prod(out.aval.shape) for e in jax.make_jaxpr(f)(*args).eqns for out in e.outvars
    )


STRIPS = [
    # window, options
    ((3, 3), {}),
    ((2, 5), {"window_strides": (2, 1)}),
    ((3, 3), {"rhs_dilation": (2, 3), "padding": [(3, 0), (2, 2)]}),
    ((4, 3), {"lhs_dilation": (2, 1), "window_strides": (3, 1), "padding": [(1, 1), (0, 2)]}),
]


def test_strips():
    """Fewer numbers than in patches, and of 16 bits the same patches as ever."""
    cases = []
    for window, options in STRIPS:
        options = {"window_strides": (1, 1), "padding": "SAME"} | options
        f = lambda x, w, options=options: lax.conv_general_dilated(
            x, w, dimension_numbers=LAYOUTS[2][0], **options
        )
        x, w = random((2, 9, 32, 8)), random((*window, 8, 6), 1)
        half = [a.astype(jnp.bfloat16) for a in (x, w)]
        assert largest(vt.rewrite(f), x, w) * 1.2 < largest(vt.rewrite(f), *half), options
        cases.append((f, (x, w)))
    assert_all_same(*cases)


def test_strips_not_where_most_of_their_parts_would_be_in_vain():
    f = lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "VALID", dimension_numbers=LAYOUTS[2][0]
    )
    x, w = random((2, 9, 5, 8)), random((3, 3, 8, 6), 1)
    half = [a.astype(jnp.bfloat16) for a in (x, w)]
    assert largest(vt.rewrite(f), x, w) == largest(vt.rewrite(f), *half)


@settings(max_examples=5)
@given(five(convolutions()))
def test_any_convolution_in_strips(cases):
    """Wherever they can be made, whether they pay or not."""
    with pytest.MonkeyPatch.context() as patch:
        pays = lambda x, w, geometry: geometry.separable and geometry.stride[-1] == 1
        patch.setattr(
            convolution,
            "ALGORITHMS",
            (shift_add.ALGORITHM._replace(pays=pays), convolution.PATCHES),
        )
        assert_convolutions_are_the_same(cases)


WIDE = {"padding": "SAME", "dimension_numbers": LAYOUTS[2][0]}


SIZES = [(4, 6), (7, 5), (9, 12)]
EDGES = ["SAME", "VALID", [(2, 1), (0, 3)], [(-1, 2), (1, 0)]]


@pytest.mark.parametrize("names", LAYOUTS[2], ids=lambda names: names[0])
def test_fewer_products(names):
    """Winograd's form: 16 products for 2 x 2 outputs; odd edges, uneven and negative padding.

    All sizes with all edges; of the layouts that are turned into the first, each size and edge.
    """
    every = itertools.product(SIZES, EDGES)
    if names != LAYOUTS[2][0]:
        every = zip([*SIZES, SIZES[0]], EDGES, strict=True)
    cases = []
    for size, padding in every:
        options = {"window_strides": (1, 1), "padding": padding, "dimension_numbers": names}
        f = lambda x, w, options=options: lax.conv_general_dilated(x, w, **options)
        sizes = {"N": 2, "C": 32, "H": size[0] + 2, "W": size[1] + 2}
        x = random([sizes[axis] for axis in names[0]])
        w = random([{"H": 3, "W": 3, "I": 32, "O": 33}[axis] for axis in names[1]], 1)
        assert products(vt.rewrite(f), x, w) == 16
        assert products(vt.rewrite(f, "patches"), x, w) == products(rewrite_once(f), x, w) == 1
        cases.append((f, (x, w)))
    assert_all_same(*cases)


@pytest.mark.parametrize("fit", [1, 3, 6])
def test_fewer_products_in_pieces(fit, monkeypatch):
    room = fit * 16 * 9 * 64 * 8
    limit_memory(monkeypatch, room)
    f = lambda x, w: lax.conv_general_dilated(x, w, (1, 1), **WIDE)
    x, w = random((6, 5, 6, 32)), random((3, 3, 32, 32), 1)
    assert_same(f, x, w)
    assert ("scan[" in str(jax.make_jaxpr(vt.rewrite(f))(x, w))) == (fit < 6)


def test_fewer_products_differentiated_in_other_ways():
    """Forward mode, a product with the Hessian, members side by side."""
    f = lambda x, w: jnp.sum(jnp.tanh(lax.conv_general_dilated(x, w, (1, 1), **WIDE)))
    x, w = random((2, 4, 6, 32)), random((3, 3, 32, 32), 1) / 10
    step = random(w.shape, 2)
    ways = lambda f: {
        "jvp": jax.jvp(lambda w: f(x, w), (w,), (step,)),
        "hvp": jax.jvp(jax.grad(lambda w: f(x, w)), (w,), (step,)),
        "vmap": jax.vmap(jax.grad(f, 1), (None, 0))(x, jnp.stack([w, step])),
    }
    jax.tree.map(close, *(jax.jit(partial(ways, form))() for form in (vt.rewrite(f), f)))


@pytest.mark.parametrize(
    ("shape", "window", "options"),
    [
        ((2, 6, 6, 32), (3, 3, 32, 31), {}),
        ((2, 6, 6, 31), (3, 3, 31, 32), {}),
        ((2, 6, 6, 32), (3, 2, 32, 32), {}),
        ((2, 3, 3, 32), (3, 3, 32, 32), {}),  # 64 products for 9 outputs
        ((2, 6, 6, 32), (3, 3, 32, 32), {"window_strides": (2, 1)}),
        ((2, 6, 6, 32), (3, 3, 32, 32), {"rhs_dilation": (1, 2)}),
        ((2, 6, 6, 64), (3, 3, 32, 64), {"feature_group_count": 2}),
        ((2, 6, 6, 32), (3, 3, 32, 32), {"dtype": jnp.bfloat16}),
    ],
    ids=lambda value: str(value),
)
def test_patches_where_fewer_products_do_not_pay(shape, window, options):
    kind = options.pop("dtype", float)
    f = lambda x, w: lax.conv_general_dilated(x, w, **({"window_strides": (1, 1)} | WIDE | options))
    x, w = random(shape).astype(kind), random(window, 1).astype(kind)
    text = lambda form: str(jax.make_jaxpr(vt.rewrite(f, form))(x, w))
    assert not left_in(vt.rewrite(f), x, w)
    assert text("auto") == text("winograd") == text("patches")


def test_transposed_convolutions():
    cases = []
    for padding in ("SAME", "VALID", [(2, 0), (1, 3)]):
        for strides in ((1, 1), (2, 3)):
            for dilation in ((1, 1), (2, 1)):
                f = partial(
                    lax.conv_transpose, strides=strides, padding=padding, rhs_dilation=dilation
                )
                cases.append((f, (random((2, 5, 4, 3)), random((3, 2, 3, 2), 1))))
    assert_all_same(*cases)


def test_gradients_of_convolutions_written_by_the_user():
    """As in an adversarial score: convolutions and poolings that differentiation has made."""

    def score(x, w):
        def inner(x):
            y = lax.conv_general_dilated(
                x, w, (2, 1), "SAME", dimension_numbers=LAYOUTS[2][0], feature_group_count=2
            )
            return jnp.sum(nn.max_pool(y, (3, 2), (2, 2)) ** 2)

        return x + 0.1 * jnp.sign(jax.grad(inner)(x)), jax.grad(inner)(x)

    x, w = random((2, 9, 6, 4)), random((3, 3, 2, 6), 1)
    assert {"conv_general_dilated", "select_and_"} <= set(left_in(score, x, w))
    assert not left_in(vt.rewrite(score), x, w)
    jax.tree.map(close, jax.jit(vt.rewrite(score))(x, w), jax.jit(score)(x, w))


@st.composite
def poolings(draw):
    rank = draw(st.integers(1, 3))
    several = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))
    window = several(1, 3)
    strides = window if draw(st.booleans()) else several(1, 3)
    padding = draw(st.sampled_from(["SAME", "VALID", [(1, 0)] * rank]))
    shape = (2, *several(3, 7), 2)
    how = draw(st.sampled_from(["max", "avg", "min"]))
    return how, shape, window, strides, padding, draw(st.booleans())


POOLS = {"max": nn.max_pool, "min": nn.pooling.min_pool, "avg": nn.avg_pool}


@settings(max_examples=10)
@given(five(poolings()))
def test_poolings(cases):
    computed = []
    for how, shape, window, strides, padding, ties in cases:
        x = random(shape)
        if ties:  # the first of equal values takes the gradient
            x = np.round(x)
        if padding != "SAME":
            padding = padding if isinstance(padding, str) else tuple(padding)
        f = partial(POOLS[how], window_shape=window, strides=strides, padding=padding)
        if 0 not in jax.eval_shape(f, x).shape:
            computed.append((f, (x,)))
    if computed:
        assert_all_same(*computed)


def test_pooling_over_rows_and_channels():
    f = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2, 3), (1, 2, 2), "SAME")
    assert_same(f, random((4, 6, 5)))
    f = lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (2, 2), (1, 2), "VALID", window_dilation=(1, 2)
    )
    np.testing.assert_array_equal(vt.rewrite(f)(random((5, 8))), f(random((5, 8))))


@pytest.mark.parametrize("how", POOLS)
def test_pooling_of_a_large_window(how):
    """Axis by axis, and still the first of equals takes the gradient."""
    f = lambda x: POOLS[how](x, (7, 6), (7, 6))
    x = random((2, 15, 13, 2))
    over = lambda x: POOLS[how](x, (6, 7), (1, 2))
    ties = np.round(x)
    assert_all_same((f, (x,)), (f, (ties,)), (f, (np.ones_like(x),)), (over, (x,)), (over, (ties,)))


def test_pooling_of_whole_sequences():
    """More places than are taken apart: one reduction, not an equation for each of them."""
    x = random((2, 300, 3))
    cases = []
    for pool in POOLS.values():
        f = lambda x, pool=pool: pool(x, (300,), (300,))
        gradient = jax.grad(lambda x, f=f: vt.rewrite(f)(x).sum())
        assert len(str(jax.make_jaxpr(gradient)(x)).splitlines()) < 300
        cases += [(f, (x,)), (f, (np.round(x),))]
    assert_all_same(*cases)


def test_memory_of_overlapping_windows():
    """The gradient keeps a few times the input, not one array for each of 25 places."""
    f = vt.rewrite(lambda x: jnp.sum(nn.max_pool(x, (5, 5), (1, 1), "SAME") ** 2))
    x = random((4, 32, 32, 8))
    needs = jax.jit(jax.grad(f)).lower(x).compile().memory_analysis().temp_size_in_bytes
    assert needs < 16 * x.nbytes


@pytest.mark.parametrize("stride", [(2, 3), (1, 2)], ids=["side by side", "one over the other"])
def test_poolings_differentiated_in_other_ways(stride):
    """Forward mode, a product with the Hessian, members side by side."""
    x, step = random((2, 5, 6, 3)), random((2, 5, 6, 3), 2)

    def ways(change):
        results = {}
        for how, pool in POOLS.items():
            f = change(lambda x, pool=pool: jnp.sum(jnp.tanh(pool(x, (2, 3), stride)) ** 2))
            results[how] = {
                "jvp": jax.jvp(f, (x,), (step,)),
                "hvp": jax.jvp(jax.grad(f), (x,), (step,)),
                "vmap": jax.vmap(jax.grad(f))(jnp.stack([x, step])),
            }
        return results

    jax.tree.map(close, *(jax.jit(partial(ways, form))() for form in (vt.rewrite, lambda f: f)))


def test_sums_of_half_precision_are_rounded_once():
    x = jnp.ones((1, 4, 4, 1), jnp.bfloat16).at[0, 0, 0, 0].set(256)  # 256 + 1 would be 256
    y = jax.jit(
        vt.rewrite(lambda x: lax.reduce_window(x, 0.0, lax.add, *[(1, 4, 4, 1)] * 2, "VALID"))
    )(x)
    assert y.dtype == jnp.bfloat16
    assert y.item() in (270, 272)
    rows = jnp.where(jnp.arange(8) < 4, 60000, -60000)  # a sum of each alone would overflow
    x = jnp.broadcast_to(rows.astype(jnp.float16)[None, :, None, None], (1, 8, 8, 1))
    window = (1, 8, 8, 1)
    y = jax.jit(
        vt.rewrite(lambda x: lax.reduce_window(x, 0.0, lax.add, window, (1, 1, 1, 1), "VALID"))
    )(x)
    assert y.dtype == jnp.float16
    assert y.item() == 0


def test_nan_and_infinity_pass_through_a_pooling():
    x = random((1, 4, 4, 1))
    x[0, 0, 0, 0] = x[0, 3, 3, 0] = np.nan
    x[0, 0, 3, 0], x[0, 3, 0, 0] = -np.inf, np.inf
    pooled = lambda change: jax.jit(
        lambda x: [change(lambda x, p=pool: p(x, (2, 2), (2, 2)))(x) for pool in POOLS.values()]
    )
    jax.tree.map(np.testing.assert_array_equal, pooled(vt.rewrite)(x), pooled(lambda f: f)(x))


class Plain(nn.Module):
    """Convolutions, poolings, dense layers, dropout."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.avg_pool(nn.gelu(nn.Conv(6, (3, 3), padding="VALID")(x)), (2, 2), (2, 2))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(5)(x.reshape(x.shape[0], -1))


class Block(nn.Module):
    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, train):
        norm = partial(nn.BatchNorm, use_running_average=not train)
        y = nn.relu(norm()(nn.Conv(self.width, (3, 3), self.stride, use_bias=False)(x)))
        y = norm()(nn.Conv(self.width, (3, 3), use_bias=False)(y))
        x = nn.Conv(self.width, (1, 1), self.stride, use_bias=False)(x)
        return nn.relu(x + y)


class Residual(nn.Module):
    """BatchNorm, strides, remat; overlapping pooling in the stem."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.max_pool(nn.Conv(4, (5, 5))(x), (3, 3), (2, 2), "SAME")
        x = nn.remat(Block, static_argnums=(2,))(4)(x, train)
        x = Block(8, 2)(x, train)
        return nn.Dense(5)(x.mean((1, 2)))


class Mobile(nn.Module):
    """Depthwise, grouped and dilated convolutions; layers under scan and cond."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), 2)(x)
        x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=8)(x))
        layer = nn.Conv(8, (3, 3), feature_group_count=2, kernel_dilation=2)
        weights = layer.init(jax.random.key(1), x)
        step = lambda carry, _: (nn.tanh(layer.apply(weights, carry)), carry.mean())
        x, means = lax.scan(step, x, None, length=2)
        average = lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME")
        x = lax.cond(means[0] > 1e9, lambda x: x, average, x)
        return nn.Dense(5)(x.mean((1, 2)))


class Decoder(nn.Module):
    """An autoencoder with transposed convolutions; circular padding; rows through vmap."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(4, (3, 3), 2, padding="CIRCULAR")(x))
        x = nn.relu(nn.ConvTranspose(3, (3, 3), (2, 2))(x))
        blur = lambda row: lax.conv(row.T[None], jnp.ones((2, 3, 3)), (2,), "SAME")[0].mean(-1)
        return nn.Dense(5)(jnp.concatenate([x.mean((1, 2)), jax.vmap(blur)(x[:, 0])], -1))


class Sentence(nn.Module):
    """A text CNN: convolutions of several widths over words, the maximum over time."""

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(x.shape[0], -1, 8)
        parts = [nn.relu(nn.Conv(3, (k,), padding="VALID")(x)).max(1) for k in (2, 3, 4)]
        return nn.Dense(5)(jnp.concatenate(parts, -1))


class Wide(nn.Module):
    """Layers of 3 x 3 windows over many channels, under scan and remat."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(32, (3, 3))(x))
        layer = nn.Conv(32, (3, 3), use_bias=False)
        weights = {"params": {"kernel": random((3, 3, 32, 32), 1) / 10}}
        x, _ = lax.scan(lambda x, _: (nn.tanh(layer.apply(weights, x)), None), x, None, length=2)
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.remat(nn.Conv)(40, (3, 3), padding="VALID")(x)
        return nn.Dense(5)(nn.relu(x).mean((1, 2)))


@pytest.mark.parametrize("model", [Plain, Residual, Mobile, Decoder, Sentence, Wide])
def test_whole_models(model):
    module, x = model(), random((3, 12, 12, 2))
    y = jnp.array([0, 3, 1])
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.tree.map(
        lambda a: np.asarray(a, float), jax.jit(partial(module.init, train=True))(rngs, x)
    )
    params, other = variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params, other, x):
        out, after = module.apply(
            {"params": params, **other}, x, train=True, rngs=rngs, mutable=list(other)
        )
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean(), after

    def train(loss):
        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params, other, x)

    assert "conv_general_dilated" in left_in(loss, params, other, x)
    assert not left_in(jax.grad(lambda p: vt.rewrite(loss)(p, other, x)[0]), params)
    jax.tree.map(close, train(vt.rewrite(loss)), train(loss))


def test_under_vmap_and_in_a_loop():
    f = lambda x, w: nn.max_pool(
        lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAYOUTS[2][0]),
        (2, 2),
        (2, 2),
    )
    x, w = random((3, 6, 6, 2)), random((4, 3, 3, 2, 5), 1)
    rewritten = vt.rewrite(f)
    members = vt.rewrite(jax.vmap(f, (None, 0)))  # vmap first: a grouped convolution
    assert not left_in(members, x, w)

    @jax.jit
    def run(x, w):
        return {
            "expected": jnp.stack([f(x, own) for own in w]),
            "vmap": jax.vmap(rewritten, (None, 0))(x, w),
            "loop": lax.map(lambda own: rewritten(x, own), w),
            "members": members(x, w),
        }

    found = run(x, w)
    for way in ("vmap", "loop", "members"):
        np.testing.assert_allclose(found[way], found["expected"], rtol=1e-10, err_msg=way)


@jax.custom_vjp
def straight_through(x, w):
    return jnp.sign(lax.conv(x, w, (1, 1), "SAME"))


straight_through.defvjp(
    lambda x, w: (straight_through(x, w), w), lambda w, g: (g.sum() * jnp.ones((1, 1, 4, 4)), w)
)


@jax.custom_jvp
def doubled(x):
    return 2 * nn.max_pool(x, (2, 2), (2, 2))


doubled.defjvp(lambda primals, tangents: (doubled(*primals), -doubled(*tangents)))


def test_custom_derivatives_pass_through_unchanged():
    x, w = random((1, 1, 4, 4)), random((1, 1, 3, 3), 1)
    rewritten = vt.rewrite(lambda x, w: straight_through(x, w).sum())
    assert left_in(rewritten, x, w) == ["conv_general_dilated"]
    gradients = jax.jit(jax.grad(rewritten, (0, 1)))(x, w)
    jax.tree.map(np.testing.assert_array_equal, gradients, (16.0 * jnp.ones((1, 1, 4, 4)), w))
    image = random((1, 4, 4, 1))
    rewritten = vt.rewrite(lambda x: doubled(x).sum())
    assert left_in(rewritten, image) == ["reduce_window"]
    expected = jax.jvp(lambda x: doubled(x).sum(), (image,), (image,))
    assert jax.jvp(rewritten, (image,), (image,)) == expected
    assert expected[1] < 0 < expected[0] or expected[0] < 0 < expected[1]


UNKNOWN = {
    "integers": lambda x, w: lax.conv(x.astype(int), w.astype(int), (1, 1), "SAME").astype(float),
    "complex": lambda x, w: lax.conv(x + 1j, w + 0j, (1, 1), "SAME").real,
    "many places": lambda x, w: lax.conv(x, jnp.tile(w, (1, 1, 4, 4)), (1, 1), "SAME"),  # 144
    "own reduction": lambda x, w: lax.reduce_window(
        x, 1.0, lambda a, b: 2 * a * b, (1, 1, 2, 2), (1, 1, 2, 2), "SAME"
    ),
    "wide pooling": lambda x, w: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 1, 8, 20), (1, 1, 1, 1), "SAME"
    ),
}


def test_unknown_forms_pass_through_unchanged():
    x, w = random((1, 1, 8, 8)), random((1, 1, 3, 3), 1)
    for name, f in UNKNOWN.items():
        assert left_in(vt.rewrite(f), x, w) == left_in(f, x, w) != [], name
    run = lambda change: jax.jit(
        lambda x, w: {name: change(f)(x, w) for name, f in UNKNOWN.items()}
    )(x, w)
    jax.tree.map(np.testing.assert_array_equal, run(vt.rewrite), run(lambda f: f))


def test_what_is_no_array_stays_what_it_is():
    def f(tree, /, *, train, rate, name):
        assert train is True
        assert isinstance(rate, float)
        return {name: tree["x"] * rate, "none": None, "both": (tree["x"], 3)}

    out = vt.rewrite(f)({"x": jnp.ones(2), "skip": None}, train=True, rate=0.5, name="half")
    np.testing.assert_array_equal(out["half"], [0.5, 0.5])
    assert out["none"] is None
    assert out["both"][1] == 3


def test_loops_and_branches_without_windows_stay_as_they_are():
    f = lambda x: lax.while_loop(lambda c: c[0] < 9, jax.checkpoint(lambda c: c * 2), x)
    text = lambda f: str(jax.make_jaxpr(f)(jnp.ones(2)))
    assert text(vt.rewrite(f)) == text(f)


def test_a_while_loop_around_a_convolution():
    x, w = random((1, 1, 6, 6)), random((1, 1, 3, 3), 1)
    f = lambda x: lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, lax.conv(c[1], w, (1, 1), "SAME")), (0, x)
    )[1]
    assert not left_in(vt.rewrite(f), x)
    ours, theirs = jax.jit(lambda x: (vt.rewrite(f)(x), f(x)))(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_other_precision_and_types():
    x, w = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((3, 3, 2, 2), jnp.bfloat16)
    for options in ({}, {"preferred_element_type": jnp.float32}, {"feature_group_count": 2}):
        own = w[:, :, :1] if "feature_group_count" in options else w
        f = lambda x, w, options=options: lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=LAYOUTS[2][0], precision="highest", **options
        )
        ours, theirs = jax.jit(lambda x, w, f=f: (vt.rewrite(f)(x, w), f(x, w)))(x, own)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(ours, float), np.asarray(theirs, float))


def test_no_form_and_an_unknown_one():
    f = lambda x: nn.max_pool(x, (2, 2), (2, 2))
    x = random((1, 4, 4, 1))
    assert left_in(vt.rewrite(f, "none"), x)
    assert not left_in(vt.rewrite(f, "patches"), x)
    with pytest.raises(ValueError, match="rewrite='fast' must be one of 'auto', 'none', 'patches'"):
        vt.rewrite(f, "fast")
