"""Adapters of unmodified models equal adapters written out; members equal solo runs."""

import functools
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict
from problems import LR, blobs, quadratic
from solo import batches, exactly, floats, largest_difference, valid_batch, xent

import vtune as vt
from vtune.lora.second_product import Sides, second_product


def sgd(h):
    return optax.sgd(h["lr"])


def any_loss(out, batch, h):
    return jnp.mean(out**2, axis=tuple(range(1, out.ndim)))


def rows(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


IDS = jnp.asarray([[0, 3, 1], [4, 4, 2]])
F64 = {"dtype": jnp.float64, "param_dtype": jnp.float64}


class Reshaped(nn.Module):
    """A weight whose axes are reordered, merged and split on their way."""

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.normal(), (2, 3, 4), jnp.float64)
        return jnp.einsum("hdi,bi->bhd", w.transpose(2, 1, 0).reshape(2, 2, 6), x)


class Tied(nn.Module):
    """A table that is looked up, and multiplied with."""

    @nn.compact
    def __call__(self, x):
        table = nn.Embed(5, 4, **F64)
        return table.attend(jnp.sin(table(x)))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return jnp.sin(nn.Dense(4, **F64)(x)), None


class Stacked(nn.Module):
    """Layers of a scan, each of which is computed anew for the gradient."""

    @nn.compact
    def __call__(self, x):
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        return nn.scan(nn.remat(Layer), length=3, **axes)(name="s")(x, None)[0]


class Part(nn.Module):
    """Half of the columns of a weight."""

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.normal(), (4, 6), jnp.float64)
        return x @ w[:, 1::2]


class Qkv(nn.Module):
    """Three weights in one, of which an index takes one after the other."""

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.normal(), (3, 4, 6), jnp.float64)
        return x @ w[0] + jnp.sin(x) @ w[1] + jnp.cos(x) @ w[2]


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


def conv(x, w, padding="SAME", strides=(1, 1)):
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=dims)


def two(f, *, name="kernel"):
    """The explicit form of a model that is one layer: `f` of its weight, x and (A, B)."""
    return lambda p, x: f(p[name], x, *(p["lora"][name][part] for part in "ab"))


def stacked(p, x):
    dense, pair = p["s"]["Dense_0"], p["lora"]["s"]["Dense_0"]["kernel"]
    for i in range(3):
        plain = x @ dense["kernel"][i] + dense["bias"][i][None]
        x = jnp.sin(plain + 2 * (x @ pair["a"][i]) @ pair["b"][i])
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
        nn.Einsum((3, 2, 4), "bti,hdi->bthd", use_bias=False, **F64),
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
        two(lambda w, x, a, b: conv(x, w, "VALID", (2, 1)) + 2 * conv(x, a, "VALID", (2, 1)) @ b),
        ((3, 2, 3, 2), (2, 4)),
    ),
    "reshaped": (
        Reshaped(),
        rows(5, 6),
        two(
            lambda w, x, a, b: (
                x @ w.swapaxes(0, 1).reshape(6, 4) + 2 * (x @ a.swapaxes(0, 1).reshape(6, 2)) @ b
            ).reshape(-1, 2, 2),
            name="w",
        ),
        ((2, 3, 2), (2, 4)),
    ),
    "ConvTranspose": (
        nn.ConvTranspose(3, (3, 3), transpose_kernel=True, use_bias=False, **F64),
        rows(2, 5, 5, 4),
        two(
            lambda w, x, a, b: (
                conv(x, w[::-1, ::-1].swapaxes(2, 3)) + 2 * conv(x, a[::-1, ::-1]) @ b
            )
        ),
        ((3, 3, 4, 2), (2, 3)),
    ),
    "one of several": (
        Qkv(),
        rows(5, 4),
        two(
            lambda w, x, a, b: sum(
                f(x) @ w[i] + 2 * (f(x) @ a[i]) @ b[i]
                for i, f in enumerate((lambda x: x, jnp.sin, jnp.cos))
            ),
            name="w",
        ),
        ((3, 4, 2), (3, 2, 6)),
    ),
    "a part of it": (
        Part(),
        rows(5, 4),
        two(lambda w, x, a, b: (x @ w + 2 * (x @ a) @ b)[:, 1::2], name="w"),
        ((4, 2), (2, 6)),
    ),
    "layers of a scan": (Stacked(), rows(5, 4), stacked, ((3, 4, 2), (3, 2, 4))),
    "a loop": (Cell(), rows(5, 3, 4), two(cell, name="w"), ((4, 2), (2, 4))),
    "a branch": (
        Switched(),
        rows(5, 4),
        two(
            lambda w, x, a, b: (y := jnp.where(x[0, 0] > 0, x, jnp.cos(x))) @ w + 2 * (y @ a) @ b,
            name="w",
        ),
        ((4, 2), (2, 3)),
    ),
}


def adapted_net(model, x, **options):
    """The adapted network of a model, and its variables with factors B that are not 0."""
    learner = vt.flax_learner(model, optimizer=sgd, loss=any_loss)
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


DATA = blobs(shape=(3, 2))


class Tiny(nn.Module):
    """A transformer of one block: attention, an MLP, a head."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="embed", **F64)(x)
        x = x + nn.MultiHeadDotProductAttention(2, name="attention", **F64)(x, x)
        x = x + nn.Dense(4, name="down", **F64)(nn.gelu(nn.Dense(8, name="up", **F64)(x)))
        return nn.Dense(3, name="head", **F64)(x.mean(axis=1))


ADAPTED = ("attention/query", "attention/key", "attention/value", "attention/out", "up", "down")


def written_out(p, x, low):
    """`Tiny` with adapters at the layers of ADAPTED.

    low: (layer's name, its input with the contracted axes flat, A and B as matrices) -> what is
    added to its output, with the other axes flat.
    """

    def layer(name, x, axes=1):
        w = functools.reduce(lambda tree, part: tree[part], name.split("/"), p)
        kernel, bias = w["kernel"], w["bias"]
        inside, outside = kernel.shape[:axes], kernel.shape[axes:]
        flat = x.reshape(*x.shape[:2], -1) if x.ndim > 2 else x
        out = flat @ kernel.reshape(np.prod(inside), -1)
        if name in ADAPTED:
            pair = functools.reduce(lambda tree, part: tree[part], name.split("/"), p["lora"])
            a, b = pair["kernel"]["a"], pair["kernel"]["b"]
            out += low(name, flat, a.reshape(flat.shape[-1], -1), b.reshape(b.shape[0], -1))
        return (out + jnp.broadcast_to(bias.reshape(-1), out.shape)).reshape(
            *flat.shape[:-1], *outside
        )

    x = layer("embed", x)
    q, k, v = (layer(f"attention/{name}", x) for name in ("query", "key", "value"))
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1]), -1)
    x = x + layer("attention/out", jnp.einsum("bhqk,bkhd->bqhd", weights, v), 2)
    x = x + layer("down", nn.gelu(layer("up", x)))
    return layer("head", x.mean(axis=1))


def test_attention_equals_the_adapters_written_out(x64):
    x = rows(4, 3, 2)
    net, params, other = adapted_net(Tiny(), x, rank=2, alpha=4, only=list(ADAPTED))
    got = lambda p, x: net.apply(jax.random.key(0), {}, p, other, {"x": x}, False)[0]
    want = lambda p, x: written_out(p, x, lambda name, x, a, b: 2 * (x @ a) @ b)
    compared(got, want, params, x)


def own_key(key, name):
    """As the documentation says."""
    key = jax.random.fold_in(key, np.uint32(0x6C6F7261))
    return jax.random.fold_in(key, np.uint32(zlib.crc32(f"{name}/kernel".encode())))


def lora_plus(h):
    """B learns faster than A; the head, which is trained as well, as A."""
    slow = optax.adam(h["lr"])
    rates = {"a": slow, "b": optax.adam(h["ratio"] * h["lr"]), "other": slow}
    return optax.multi_transform(rates, vt.lora.labels)


TINY = vt.flax_learner(Tiny(), optimizer=lora_plus, loss=xent, rewrite="none")
SETTINGS = {
    "lr": vt.Float(1e-3, 3e-2, log=True),
    "ratio": vt.Float(1.0, 8.0),
    "alpha": vt.Float(1.0, 8.0),
    "rank": vt.Int(1, 2),
    "rate": vt.Float(0.1, 0.5),
}
TINY_LORA = vt.lora.adapt(
    TINY,
    rank=lambda h: h["rank"],
    alpha=lambda h: h["alpha"],
    dropout=lambda h: h["rate"],
    max_rank=2,
    only=["attention", "^up/", "^down/"],
)
WHOLE = {}


def pretrained():
    if not WHOLE:
        WHOLE.update(Tiny().init(jax.random.key(3), DATA.arrays["x"]))
    return WHOLE


def lora_loop(base, lora, h, id, steps, batch_size):
    """Trains the adapters and the head of `Tiny` in a plain loop."""
    h = floats(h)
    scale = lambda h: jnp.where(jnp.arange(2) < h["rank"], h["alpha"] / h["rank"], 0.0)

    def loss(trained, frozen, batch, key, h):
        def low(name, x, a, b):
            kept = jax.random.bernoulli(own_key(key, name), 1 - h["rate"], x.shape)
            x = jnp.where(kept, x / (1 - h["rate"]), 0.0)
            return (x @ a * scale(h)[None, None]) @ b

        return xent(written_out({**frozen, **trained}, batch["x"], low), batch, h).mean()

    @exactly
    def step(trained, opt_state, frozen, batch, key, number, h):
        grads = jax.grad(loss)(trained, frozen, batch, jax.random.fold_in(key, number), h)
        updates, opt_state = lora_plus(h).update(grads, opt_state, trained)
        return optax.apply_updates(trained, updates), opt_state

    @exactly
    def judge(trained, frozen, batch, h):
        low = lambda name, x, a, b: (x @ a * scale(h)[None, None]) @ b
        return xent(written_out({**frozen, **trained}, batch["x"], low), batch, h).mean()

    key, frozen = vt.member_key(0, id), {k: v for k, v in base.items() if k != "head"}
    trained = {"head": base["head"], "lora": lora(key)}
    opt_state = lora_plus(h).init(trained)
    for number, batch in enumerate(batches(DATA, 0, steps, batch_size)):
        trained, opt_state = step(trained, opt_state, frozen, batch, key, np.int32(number), h)
    return trained, float(judge(trained, frozen, valid_batch(DATA), h))


def first_adapters(base, rank):
    """(member's key) -> the adapters of `Tiny` as the documentation says they are drawn."""

    def draw(key):
        tree = {"attention": {}}
        for name in ADAPTED:
            kernel = functools.reduce(lambda tree, part: tree[part], name.split("/"), base)
            shape, axes = kernel["kernel"].shape, 2 if name.endswith("out") else 1
            a = jax.random.normal(own_key(key, name), (*shape[:axes], rank), jnp.float64)
            pair = {
                "a": a / np.sqrt(np.prod(shape[:axes])),
                "b": jnp.zeros((rank, *shape[axes:]), jnp.float64),
            }
            (tree["attention"] if "/" in name else tree)[name.split("/")[-1]] = {"kernel": pair}
        return tree

    return draw


@pytest.mark.slow
def test_members_equal_a_plain_loop(x64, exact, tmp_path):
    whole = pretrained()
    sweep = vt.tune(
        TINY_LORA,
        SETTINGS,
        DATA,
        search=vt.Halton(4),
        epochs=13,
        batch_size=16,
        init_from=whole,
        frozen=("all but", ["^lora/", "^head/"]),
    )
    assert {member.hparams["rank"] for member in sweep} == {1, 2}
    for member in (sweep[1], sweep[2]):
        trained, loss = lora_loop(
            whole["params"],
            first_adapters(whole["params"], 2),
            member.hparams,
            member.index,
            52,
            16,
        )
        assert largest_difference(trained["lora"], member.variables["lora"]) < 1e-9
        assert largest_difference(trained["head"], member.variables["params"]["head"]) < 1e-9
        assert member.score == pytest.approx(loss, abs=1e-9)
        assert set(member.trained) == {"params", "lora"}
        assert set(member.trained["params"]) == {"head"}
    x = np.asarray(DATA.arrays["x"])[:5]
    best = sweep.best
    plain = vt.lora.merge(best)
    assert jax.tree.structure(plain) == jax.tree.structure(whole)
    np.testing.assert_allclose(Tiny().apply(plain, x), best.predict(x), atol=1e-10)
    assert np.abs(Tiny().apply(whole, x) - best.predict(x)).max() > 1e-2
    again = sweep.rerun(best.index)
    assert again.score == pytest.approx(best.score, abs=1e-12)
    sweep.save(tmp_path / "lora")
    loaded = vt.load(tmp_path / "lora", TINY_LORA)
    assert largest_difference(vt.lora.merge(loaded.best), plain) == 0.0


class Plain(nnx.Module):
    def __init__(self, h, rngs):
        options = {"param_dtype": jnp.float64, "rngs": rngs}
        self.layers = nnx.List([nnx.Linear(6, 5, **options), nnx.Linear(5, 3, **options)])

    def __call__(self, x):
        return self.layers[1](nnx.relu(self.layers[0](x)))


class WithLora(nnx.Module):
    """Flax's own adapters."""

    def __init__(self, h, rngs):
        options = {"param_dtype": jnp.float64, "rngs": rngs}
        self.body = nnx.LoRALinear(6, 5, lora_rank=2, lora_param_dtype=jnp.float64, **options)
        self.head = nnx.Linear(5, 3, **options)

    def __call__(self, x):
        return self.head(nnx.relu(self.body(x)))


def test_nnx_equals_the_adapters_written_out(x64):
    learner = vt.nnx_learner(Plain, optimizer=sgd, loss=any_loss)
    adapted = vt.lora.adapt(learner, rank=2, alpha=4, only="layers/0")
    net, x = adapted.freezing.net, rows(4, 6)
    params, other = jax.jit(lambda: net.init(jax.random.key(0), {}, {"x": x}))()
    pair = params["lora"]["layers"][0]["kernel"]
    pair["b"] = pair["b"] + 1.0

    def want(p, x):
        first, last = p["layers"][0], p["layers"][1]
        pair = p["lora"]["layers"][0]["kernel"]
        inside = x @ first["kernel"] + first["bias"][None] + 2 * (x @ pair["a"]) @ pair["b"]
        return nnx.relu(inside) @ last["kernel"] + last["bias"][None]

    got = lambda p, x: net.apply(jax.random.key(0), {}, p, other, {"x": x}, False)[0]
    compared(got, want, params, x)


@pytest.mark.slow
def test_adapters_of_nnx_itself(x64, exact):
    """`nnx.LoRALinear` trains its adapters alone; members share the rest."""
    learner = vt.nnx_learner(WithLora, optimizer=lambda h: optax.adam(h["lr"]), loss=xent)
    data, first = blobs(), nnx.state(WithLora({}, nnx.Rngs(5)))
    sweep = vt.tune(
        learner,
        LR,
        data,
        search=vt.Halton(2),
        epochs=13,
        batch_size=16,
        init_from=first,
        frozen=nnx.Not(nnx.LoRAParam),
    )
    member = sweep[1]
    module = WithLora({}, nnx.Rngs(5))
    optimizer = nnx.Optimizer(module, optax.adam(member.hparams["lr"]), wrt=nnx.LoRAParam)
    differ = nnx.DiffState(0, nnx.LoRAParam)

    @nnx.jit
    def step(module, optimizer, batch):
        loss = lambda module: xent(module(batch["x"]), batch, None).mean()
        optimizer.update(module, nnx.grad(loss, argnums=differ)(module))

    for batch in batches(data, 0, 52, 16):
        step(module, optimizer, batch)
    want = nnx.to_pure_dict(nnx.state(module))
    assert largest_difference(want, member.variables) < 1e-9
    assert set(flatten_dict(member.trained)) == {("body", "lora", n) for n in ("lora_a", "lora_b")}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_traced_rank_is_that_rank(dtype):
    """The columns from the rank on count for nothing, and the product's type is the model's."""
    x, key = jnp.asarray(rows(5, 6)), jax.random.key(0)
    model = nn.Dense(4, dtype=dtype)
    net, params, other = adapted_net(model, x, rank=lambda h: h.get("rank", 3), max_rank=3)
    out = lambda params, h: net.apply(key, h, params, other, {"x": x}, False)[0]
    pair = params["lora"]["kernel"]
    less = {**params, "lora": {"kernel": {"a": pair["a"][:, :2], "b": pair["b"][:2]}}}
    for alpha in (None, 3.0):
        settings = vt.lora.settings.Settings(lambda h: h["rank"], alpha, 0.0, 3)
        net = vt.lora.net.AdaptedNet(net.net, settings)
        traced = jax.jit(functools.partial(out, params))
        got = traced({"rank": jnp.int32(2)})
        want = jax.jit(lambda p: out(p, {"rank": 2}))(less)
        assert got.dtype == want.dtype == dtype
        np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=1e-2, atol=1e-6)
        assert bool(jnp.all(got.astype(float) != model.apply({"params": params}, x)))
        assert bool(jnp.isnan(traced({"rank": jnp.int32(4)})).all())


def test_dropout_is_in_training_alone(x64):
    x, key = rows(5, 6).astype(float), jax.random.key(4)
    net, params, other = adapted_net(nn.Dense(4, use_bias=False, **F64), x, rank=2, dropout=0.5)
    out = lambda train: net.apply(key, {}, params, other, {"x": x}, train)[0]
    w, a, b = params["kernel"], *(params["lora"]["kernel"][name] for name in "ab")
    folded = jax.random.fold_in(key, np.uint32(0x6C6F7261))
    kept = jax.random.bernoulli(
        jax.random.fold_in(folded, np.uint32(zlib.crc32(b"kernel"))), 0.5, x.shape
    )
    np.testing.assert_allclose(out(True), x @ w + jnp.where(kept, x * 2, 0) @ a @ b, atol=1e-12)
    np.testing.assert_allclose(out(False), x @ w + x @ a @ b, atol=1e-12)


class Odd(nn.Module):
    """Weights that an adapter cannot follow, and one that it can."""

    @nn.compact
    def __call__(self, x):
        w = self.param("scaled", nn.initializers.normal(), (6, 6))
        x = x @ (w / jnp.linalg.norm(w))
        x = nn.Conv(4, (3,), feature_group_count=2, name="grouped")(
            jnp.repeat(x[:, :2, None], 2, 2)
        )
        x = x.reshape(-1, 8) + self.param("place", nn.initializers.normal(), (1, 8))
        return nn.Dense(3, name="head")(x)


def odd(**options):
    learner = vt.flax_learner(Odd(), optimizer=sgd, loss=xent)
    return lambda: vt.lora.adapt(learner, **{"rank": 2, **options})


class Unlike(nn.Module):
    """A weight that scoring uses along other axes than training."""

    @nn.compact
    def __call__(self, x, train=False):
        w = self.param("w", nn.initializers.normal(), (2, 3, 3))
        return x @ w.reshape(6, 3) if train else x[:, :2] @ w.reshape(2, 9)[:, :3]


ERRORS = {
    "rank of 0": (odd(rank=0), ValueError, "rank=0 must be 1 or more"),
    "rank of a word": (odd(rank="8"), TypeError, "rank='8' must be a whole number, 1 or more"),
    "largest rank": (odd(max_rank=0), ValueError, "max_rank=0 must be 1 or more"),
    "alpha": (odd(alpha=0), ValueError, "alpha=0 must be a finite number above 0"),
    "alpha of a word": (odd(alpha="2"), TypeError, "alpha='2' must be a number above 0"),
    "dropout": (odd(dropout=1.0), ValueError, "dropout=1.0 must be from 0 to below 1"),
    "no pattern": (odd(only=[]), TypeError, r"only=\[\] is not known; write a regular expr"),
    "no expression": (odd(only="*"), ValueError, "only='\\*' is no regular expression"),
    "another learner": (
        lambda: vt.lora.adapt(quadratic(), rank=2),
        TypeError,
        "got a learner of functions, which does not say what its model is; give a learner of vt.f",
    ),
    "scored otherwise": (
        lambda: vt.lora.adapt(vt.flax_learner(Unlike(), optimizer=sgd, loss=xent), rank=1),
        ValueError,
        "w is used along other axes in scoring than in training",
    ),
    "adapted twice": (
        lambda: vt.lora.adapt(odd()(), rank=2),
        ValueError,
        "has adapters already",
    ),
    "rank above the matrix": (
        odd(rank=4),
        ValueError,
        r"rank 4 is above the smaller side of head/kernel \[8, 3\] \(at most 3\); lower the rank",
    ),
    "rank above the largest": (odd(rank=lambda h: 3, max_rank=2), ValueError, "rank=3 is above ma"),
    "traced rank": (odd(rank=lambda h: h["lr"]), ValueError, "give max_rank=16"),
    "rank of a function": (odd(rank=lambda h: 0), ValueError, "rank=0 must be 1 or more"),
    "unknown hyperparameter": (odd(alpha=lambda h: h["b"]), KeyError, "'b' is read but not in the"),
    "no match": (
        odd(only=["head", "heed"]),
        ValueError,
        "only='heed' matches no weight of a product; in products or lookups are head/kernel",
    ),
    "no product": (
        odd(only="place"),
        ValueError,
        "only='place' matches weights that are in no product; .* head/kernel",
    ),
    "groups": (
        odd(only="grouped"),
        ValueError,
        "grouped/kernel reaches conv_general_dilated with feature_group_count=2: .* leave it out",
    ),
    "another operation": (
        odd(only="head|scaled"),
        ValueError,
        "scaled reaches .*leave it out of only=",
    ),
    "no answer": (odd(only=lambda path: 1), ValueError, "only returned 1 for the path"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case, refused):
    made, error, says = ERRORS[case]
    model = Unlike() if case == "scored otherwise" else Odd()
    whole = jax.eval_shape(model.init, jax.random.key(0), DATA.arrays["x"].reshape(-1, 6))
    whole = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), whole)
    with refused(error, says):
        vt.tune(made(), LR, blobs(), epochs=1, batch_size=16, init_from=whole)


def test_merge_takes_members_of_adapted_learners():
    with pytest.raises(TypeError, match=r"write vt.lora.merge\(sweep.best\)"):
        vt.lora.merge({"params": {}})
    sweep = vt.tune(quadratic(), LR, steps=1, search=vt.Halton(1))
    with pytest.raises(ValueError, match="the member's learner has no adapters"):
        vt.lora.merge(sweep.best)


@pytest.mark.slow
def test_structural_ranks_folds_and_seeds(x64, exact):
    """All weights but the adapters are frozen by themselves; merged weights predict the same."""
    model = nn.Sequential([nn.Dense(3, **F64)])  # which has no hash
    learner = vt.flax_learner(model, optimizer=lambda h: optax.adam(h["lr"]), loss=xent)
    adapted = vt.lora.adapt(learner, rank=lambda h: h["rank"], alpha=2)
    arrays = blobs().arrays
    data = vt.kfold({k: np.asarray(v) for k, v in arrays.items()}, k=2, seed=0)
    whole = model.init(jax.random.key(1), arrays["x"])
    space = {**LR, "rank": vt.Categorical([1, 2])}
    sweep = vt.tune(
        adapted, space, data, search=vt.Halton(2), epochs=2, batch_size=16, seeds=2, init_from=whole
    )
    for member in sweep:
        rank = member.hparams["rank"]
        assert jax.tree.map(np.shape, member.trained["lora"]) == {
            "layers_0": {"kernel": {"a": (2, 2, 6, rank), "b": (2, 2, rank, 3)}}
        }
        assert set(flatten_dict(member.trained)) == {
            ("lora", "layers_0", "kernel", n) for n in "ab"
        }
        plain, x = vt.lora.merge(member), np.asarray(arrays["x"])[:4]
        for place in np.ndindex(2, 2):
            own = jax.tree.map(lambda leaf, place=place: leaf[place], plain)
            np.testing.assert_allclose(model.apply(own, x), member.predict(x)[place], atol=1e-10)


def test_the_sum_is_never_formed():
    """No array of the weight's shape is made, neither for the outputs nor for the gradient."""
    x = rows(5, 6)
    net, params, other = adapted_net(nn.Dense(4), x, rank=2, dropout=0.5)
    base, key = {n: w for n, w in params.items() if n != "lora"}, jax.random.key(0)

    def loss(lora):
        out, _ = net.apply(key, {}, {**base, "lora": lora}, other, {"x": x}, True)
        return jnp.sum(out**2)

    equations = jax.make_jaxpr(jax.grad(loss))(params["lora"]).jaxpr.eqns
    shapes = [out.aval.shape for equation in equations for out in equation.outvars]
    assert (5, 4) in shapes
    assert (6, 4) not in shapes
    products = [one for one in equations if one.primitive.name == "dot_general"]
    turned = [
        one.invars[0].aval.shape
        for one in products
        if one.params["dimension_numbers"][0][0] == (0,)
    ]
    assert {shape[-1] for shape in turned} == {2}  # the rank


@pytest.mark.parametrize("low_is_left", [True, False])
@pytest.mark.parametrize("alone", [(), (0,), (1,), (2, 0)])
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16])
def test_the_second_product_has_the_gradient_of_a_product(alone, low_is_left, dtype, x64):
    wide = jnp.float32 if dtype == jnp.bfloat16 else dtype
    sides = Sides(alone, low_is_left, preferred_element_type=wide)
    second = rows(2, 3, 4, 5).astype(dtype)  # the rank is 5
    low = rows(*(second.shape[axis] for axis in alone), 6, 7, 5, seed=1).astype(dtype)
    ours, theirs = "ijkr", "".join("ijk"[axis] for axis in alone)
    others = "".join(axis for axis in "ijk" if axis not in theirs)
    made = theirs + ("xy" + others if low_is_left else others + "xy")
    plain = f"{theirs}xyr,{ours}->{made}"

    def value(product, low, second):
        return jnp.sum(jnp.sin(product(low, second)))

    found = jax.value_and_grad(
        functools.partial(value, functools.partial(second_product, sides)), (0, 1)
    )
    right = jax.value_and_grad(
        functools.partial(value, lambda *two: jnp.einsum(plain, *two, preferred_element_type=wide)),
        (0, 1),
    )
    exact = 1e-12 if dtype == jnp.float64 else 0.02
    for one, other in zip(
        jax.tree.leaves(found(low, second)), jax.tree.leaves(right(low, second)), strict=True
    ):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.astype(wide), other.astype(wide), rtol=exact, atol=exact)


def test_a_model_alone():
    """An adapted model makes the learner that an adapted learner is, of linen and of nnx."""
    parts = {"optimizer": sgd, "loss": xent}
    linear = lambda h, rngs: nnx.Linear(6, 3, rngs=rngs)
    key, batch = vt.member_key(0, 0), {"x": rows(4, 6), "y": np.zeros(4, int)}
    for make, model in ((vt.flax_learner, nn.Dense(3)), (vt.nnx_learner, linear)):
        adapted = vt.lora.adapt(model, rank=2, alpha=3, dropout=0.1, only="kernel", max_rank=4)
        learner = make(adapted, **parts)
        other = vt.lora.adapt(
            make(model, **parts), rank=2, alpha=3, dropout=0.1, only="kernel", max_rank=4
        )
        assert learner.freezing.net.settings == other.freezing.net.settings
        assert learner.freezing.usual == other.freezing.usual
        first, same = (
            jax.eval_shape(lambda b, made=made: made.init(key, {"lr": 0.1}, b), batch)
            for made in (learner, other)
        )
        assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, same)
        assert set(first.params["lora"]) == {"kernel"}
