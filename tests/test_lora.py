"""Adapters of unmodified models equal the same adapters written out, and members equal solo runs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

import vtune as vt


def lion(h):
    return optax.sgd(h["lr"])


def any_loss(out, batch, h):
    return jnp.mean(out**2, axis=tuple(range(1, out.ndim)))


def rows(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


IDS = jnp.asarray([[0, 3, 1], [4, 4, 2]])
F64 = {"dtype": jnp.float64, "param_dtype": jnp.float64}


class Qkv(nn.Module):
    """A weight that is reshaped, transposed and cast on its way."""

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.normal(), (6, 4), jnp.float64)
        return jnp.einsum("hdi,bi->bhd", w.T.reshape(2, 2, 6), x)


class Tied(nn.Module):
    """A table that is looked up, and multiplied with."""

    @nn.compact
    def __call__(self, x):
        table = nn.Embed(5, 4, **F64)
        return table.attend(jnp.sin(table(x)))


class Stacked(nn.Module):
    """Layers of a scan, each of which is computed anew for the gradient."""

    @nn.compact
    def __call__(self, x):
        layer = nn.remat(lambda self, x, _: (jnp.sin(nn.Dense(4, name="d", **F64)(x)), None))
        body = type("Layer", (nn.Module,), {"__call__": nn.compact(lambda s, x, n: layer(s, x, n))})
        stack = nn.scan(body, {"params": 0}, {"params": True}, length=3)
        return stack(name="s")(x, None)[0]


class Switched(nn.Module):
    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.normal(), (4, 3), jnp.float64)
        both = lambda x: x @ w, lambda x: jnp.cos(x) @ w
        return jax.lax.cond(x[0, 0] > 0, *both, x)


class Cell(nn.Module):
    """A weight that all turns of a loop share."""

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.normal(), (4, 4), jnp.float64)
        return jax.lax.scan(lambda c, t: (jnp.tanh(c @ w + t), None), x[:, 0], x.swapaxes(0, 1))[0]


def explicit_attention(w, x, low):
    """Multi-head attention with an adapter at each projection; `low(name)` is what is added."""
    w = {name: w[name]["kernel"] + 0 for name in w}

    def project(name):
        a, b = low(name)
        return jnp.einsum("bti,ihd->bthd", x, w[name]) + jnp.einsum(
            "btr,rhd->bthd", jnp.einsum("bti,ir->btr", x, a), b
        )

    q, k, v = (project(name) for name in ("query", "key", "value"))
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(q.shape[-1]), -1)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
    a, b = low("out")
    return jnp.einsum("bthd,hdo->bto", mixed, w["out"]) + jnp.einsum(
        "btr,ro->bto", jnp.einsum("bthd,hdr->btr", mixed, a), b
    )


def conv(x, w, padding="SAME", strides=(1, 1)):
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=dims)


def two(f, *, name="kernel"):
    """The explicit form of a model that is one layer: `f` of its weight, x and (A, B)."""
    return lambda p, x: f(p[name], x, *(p["lora"][name][part] for part in "ab"))


def stacked(p, x):
    w, b = p["s"]["d"]["kernel"], p["s"]["d"]["bias"]
    a = p["lora"]["s"]["d"]["kernel"]
    for i in range(3):
        x = jnp.sin(x @ w[i] + b[i] + 2 * (x @ a["a"][i]) @ a["b"][i])
    return x


def cell(w, x, a, b):
    c = x[:, 0]
    for t in range(x.shape[1]):
        c = jnp.tanh(c @ w + 2 * (c @ a) @ b + x[:, t])
    return c


def tied(p, x):
    table = p["Embed_0"]["embedding"]
    a, b = (p["lora"]["Embed_0"]["embedding"][name] for name in "ab")
    e = jnp.sin(table[x] + 2 * a[x] @ b)
    return e @ table.T + 2 * (e @ b.T) @ a.T


# model, its input, the same with explicit adapters of twice the scale, the shapes of A and B
CASES = {
    "Dense": (
        nn.Dense(4, use_bias=False, **F64),
        rows(5, 6),
        two(lambda w, x, a, b: x @ w + 2 * (x @ a) @ b),
        ((6, 2), (2, 4)),
    ),
    "Dense of one input": (
        nn.Dense(4, use_bias=False, **F64),
        rows(5, 1),
        two(lambda w, x, a, b: x @ w + 2 * (x @ a) @ b),
        ((1, 1), (1, 4)),
    ),
    "DenseGeneral": (
        nn.DenseGeneral((2, 3), axis=(-2, -1), use_bias=False, **F64),
        rows(5, 3, 4),
        two(
            lambda w, x, a, b: (
                jnp.einsum("bij,ijkl->bkl", x, w)
                + 2 * jnp.einsum("br,rkl->bkl", jnp.einsum("bij,ijr->br", x, a), b)
            )
        ),
        ((3, 4, 2), (2, 2, 3)),
    ),
    "Einsum": (
        nn.Einsum((3, 2, 4), "bti,hdi->bthd", use_bias=False, **F64)
        if hasattr(nn, "Einsum")
        else nn.DenseGeneral((3, 2), use_bias=False, **F64),
        rows(5, 3, 4),
        two(
            lambda w, x, a, b: (
                jnp.einsum("bti,hdi->bthd", x, w)
                + 2 * jnp.einsum("btr,rhd->bthd", jnp.einsum("bti,ir->btr", x, a), b)
            )
        ),
        ((4, 2), (2, 3, 2)),
    ),
    "Einsum of a batch": (
        nn.Einsum((3, 4, 2), "bhi,hid->bhd", use_bias=False, **F64),
        rows(5, 3, 4),
        two(
            lambda w, x, a, b: (
                jnp.einsum("bhi,hid->bhd", x, w)
                + 2 * jnp.einsum("bhr,hrd->bhd", jnp.einsum("bhi,hir->bhr", x, a), b)
            )
        ),
        ((3, 4, 2), (3, 2, 2)),
    ),
    "Embed": (
        nn.Embed(5, 4, **F64),
        IDS,
        two(lambda w, x, a, b: w[x] + 2 * a[x] @ b, name="embedding"),
        ((5, 2), (2, 4)),
    ),
    "tied Embed": (Tied(), IDS, tied, ((5, 2), (2, 4))),
    "Conv": (
        nn.Conv(4, (3, 3), use_bias=False, **F64),
        rows(2, 5, 5, 3),
        two(lambda w, x, a, b: conv(x, w) + 2 * conv(x, a) @ b),
        ((3, 3, 3, 2), (2, 4)),
    ),
    "Conv with strides": (
        nn.Conv(4, (3, 2), strides=(2, 1), padding="VALID", use_bias=False, **F64),
        rows(2, 6, 5, 3),
        two(
            lambda w, x, a, b: (
                conv(x, w, "VALID", (2, 1)) + 2 * conv(x, a, "VALID", (2, 1)) @ b
            )
        ),
        ((3, 2, 3, 2), (2, 4)),
    ),
    "reshaped": (
        Qkv(),
        rows(5, 6),
        two(
            lambda w, x, a, b: (x @ w + 2 * (x @ a) @ b).reshape(-1, 2, 2),
            name="w",
        ),
        ((6, 2), (2, 4)),
    ),
    "layers of a scan": (Stacked(), rows(5, 4), stacked, ((3, 4, 2), (3, 2, 4))),
    "a loop": (Cell(), rows(5, 3, 4), two(cell, name="w"), ((4, 2), (2, 4))),
    "a branch": (
        Switched(),
        rows(5, 4),
        two(
            lambda w, x, a, b: (
                (y := jnp.where(x[0, 0] > 0, x, jnp.cos(x))) @ w + 2 * (y @ a) @ b
            ),
            name="w",
        ),
        ((4, 2), (2, 3)),
    ),
}


def adapted_net(model, x, **options):
    """The adapted network of a model, and its variables with factors B that are not 0."""
    learner = vt.flax_learner(model, optimizer=lion, loss=any_loss)
    net = vt.lora.adapt(learner, **options).freezing.net
    params, other = jax.jit(lambda: net.init(jax.random.key(0), {}, {"x": x}))()
    fill = lambda leaf: rows(*leaf.shape, seed=leaf.size) / 3
    return net, {**params, "lora": jax.tree.map(fill, params["lora"])}, other


def compared(got, want, params, x):
    """Values and gradients of two functions of (params, x)."""
    both = [
        jax.jit(jax.value_and_grad(lambda p, f=f: jnp.sum(jnp.sin(f(p, x)))))(params)
        for f in (got, want)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), *both)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(both[0][1]["lora"]))


@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_adapters_written_out(case, x64):
    model, x, want, shapes = CASES[case]
    x = x if x.dtype == IDS.dtype else jnp.asarray(x, float)
    only = "embedding" if "Embed" in case else None
    rank = shapes[0][-1]
    net, params, other = adapted_net(model, x, rank=rank, alpha=2 * rank, only=only)
    pairs = flatten_dict(params["lora"])
    assert [pairs[path].shape for path in sorted(pairs)] == list(shapes)
    got = lambda p, x: net.apply(jax.random.key(0), {}, p, other, {"x": x}, False)[0]
    compared(got, want, params, x)
