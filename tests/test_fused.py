"""Members abreast on one core: the numbers that each has alone, in wider products."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from loops import OPTIMIZERS
from problems import LR, blobs, mlp_learner
from solo import xent

import vtune as vt
from vtune.xla.loops import fused

pytestmark = pytest.mark.slow

K, STEPS, BATCH, COLUMNS = 4, 7, 8, 96


def batches(kind="rows"):
    """[steps, batch, ...] rows and labels."""
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(0, 10, (STEPS, BATCH)))
    if kind == "images":
        return {"x": jnp.asarray(rng.integers(0, 255, (STEPS, BATCH, 12, 8, 1))), "y": labels}
    return {"x": jnp.asarray(rng.normal(size=(STEPS, BATCH, COLUMNS)), float), "y": labels}


def start(width=16, dtype=float):
    """Weights of K members: 96-width-10, all of them other ones."""
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.normal(size=(K, *shape)) / math.sqrt(shape[0]), dtype)
    return {
        "in": draw(COLUMNS, width),
        "bias": jnp.zeros((K, width), dtype),
        "out": draw(width, 10),
    }


def logits(params, x):
    if x.ndim > 2:
        x = (x.astype(float) / 255).reshape(BATCH, COLUMNS)
    return jax.nn.relu(x @ params["in"] + params["bias"][None]) @ params["out"]


def training(optimizer, model=logits, kind="rows"):
    """By name a function (params, rate) -> weights and mean loss of one member after all steps:
    abreast under vmap, and as anyone would write it."""

    batch = batches(kind)

    def one_step(rate, i, rows, carried):
        params, state, total = carried
        keep = jax.random.bernoulli(jax.random.fold_in(jax.random.key(4), i), 0.8, (BATCH,))

        def loss(params):
            out = model(params, rows["x"])
            return optax.softmax_cross_entropy_with_integer_labels(out, rows["y"]) @ keep

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + rate * u, params, updates)
        return params, state, total + value

    def ours(params, rate):
        body = lambda i, rows, carried: one_step(rate, i, rows, carried)
        began = params, optimizer.init(params), jnp.zeros(())
        return fused.fori_loop(STEPS, body, began, batch, fused.columns(batch))

    def plain(params, rate):
        body = lambda i, own: one_step(rate, i, jax.tree.map(lambda a: a[i], batch), own)
        return lax.fori_loop(0, STEPS, body, (params, optimizer.init(params), jnp.zeros(())))

    return {"ours": ours, "plain": plain}


RATES = jnp.array([1.0, 0.5, 2.0, 0.1])


def ends(cases, params, rates=RATES):
    """By case what the members come to, abreast and as anyone would write it; each of the two is
    one program for all cases."""
    run = lambda form: (
        lambda params, rate: {
            name: forms[form](params[name], rate) for name, forms in cases.items()
        }
    )
    ours = jax.jit(jax.vmap(run("ours")))(params, rates)
    return ours, jax.vmap(jax.jit(run("plain")))(params, rates)


def assert_all_same(cases, params=None):
    """Cases: by name the two forms; params: by name what they start from, if not all alike."""
    params = dict.fromkeys(cases, start()) if params is None else params
    ours, plain = ends(cases, params)
    assert jax.tree.structure(ours) == jax.tree.structure(plain)
    for name in cases:
        pairs = zip(jax.tree.leaves(ours[name]), jax.tree.leaves(plain[name]), strict=True)
        for a, b in pairs:
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=str(name))
        moved = np.abs(np.asarray(ours[name][0]["in"]) - np.asarray(params[name]["in"]))
        assert (moved.max(axis=(1, 2)) > 1e-5).all(), name


def inside(f, *args):
    """Equations within the loop over the steps of members abreast, and their loops."""
    found = []

    def look(jaxpr, loops):
        for equation in jaxpr.eqns:
            found.append((equation, loops))
            deeper = loops + (equation.primitive.name in ("scan", "while"))
            for value in equation.params.values():
                body = getattr(value, "jaxpr", value)
                if hasattr(body, "eqns"):
                    look(body, deeper)

    look(jax.make_jaxpr(jax.vmap(f))(*args).jaxpr, 0)
    return found


def products(f, params=None):
    """(shapes of both sides, contracted axes) of the products within the loops."""
    return [
        (*(v.aval.shape for v in e.invars), e.params["dimension_numbers"][0])
        for e, loops in inside(f, start() if params is None else params, RATES)
        if e.primitive.name == "dot_general" and loops
    ]


def test_members_abreast_are_those_that_come_alone(x64):
    assert_all_same({name: training(make()) for name, make in OPTIMIZERS.items()})


def test_products_with_shared_rows_are_one_for_all_members(x64):
    cases = {kind: training(optax.adam(0.01), kind=kind) for kind in ("rows", "images")}
    assert_all_same(cases)
    for forms in cases.values():
        assert_the_first_products_are_shared(products(forms["ours"]))


def assert_the_first_products_are_shared(found):
    plain = (((1,), (0,)), ((), ()))[0]
    sides = [(a, b) for a, b, contracted in found if contracted == plain]
    assert ((BATCH, COLUMNS), (COLUMNS, K * 16)) in sides  # the first layer's
    assert ((COLUMNS, BATCH), (BATCH, K * 16)) in sides  # the gradient, of rows turned before
    # No product turns its left side on the way, but those of what each member has its own of.
    assert not [found for found in found if found[0] == (BATCH, COLUMNS) and found[2][0] == (0,)]


def test_weights_and_moments_are_carried_side_by_side():
    forms = training(optax.adam(0.01))
    (loop,) = (
        equation
        for equation, _ in inside(forms["ours"], start(), RATES)
        if equation.primitive.name == "scan"
    )
    carried = [v.aval.shape for v in loop.outvars]
    assert carried.count((COLUMNS, K * 16)) == 3  # weights and two moments
    assert (K, COLUMNS, 16) not in carried
    arithmetic = {
        equation.primitive.name
        for equation, loops in inside(forms["ours"], start(), RATES)
        if loops and equation.outvars and equation.outvars[0].aval.shape == (K, COLUMNS, 16)
    }
    assert arithmetic == set()


def test_narrow_matrices_are_flat_abreast(x64):
    deep = lambda params, x: jnp.tanh(jnp.tanh(x @ params["in"]) @ params["middle"]) @ params["out"]
    middle = jnp.asarray(np.random.default_rng(2).normal(size=(K, 32, 32)) / 6)
    params = start(32) | {"middle": middle}
    forms = training(optax.adam(0.01), deep)
    assert_all_same({"deep": forms}, {"deep": params})
    shapes = [
        equation.outvars[0].aval.shape
        for equation, loops in inside(forms["ours"], params, RATES)
        if loops and equation.primitive.name == "sqrt"
    ]
    assert (K, 1024) in shapes
    assert (COLUMNS, K * 32) in shapes
    assert (K, 32, 32) not in shapes


MODELS = [
    lambda p, x: (x @ p["in"] + (p["in"].sum() + p["in"].mean(0))[None]) @ p["out"],
    lambda p, x: (x @ jnp.where(p["in"] > p["in"].mean(), p["in"], 0.1)) @ p["out"],
    lambda p, x: (x @ jnp.clip(p["in"], -0.2, 0.2)) @ p["out"],
    lambda p, x: (x @ (p["in"] / jnp.linalg.norm(p["in"], axis=0)[None])) @ p["out"],
    lambda p, x: (x @ (p["in"] * (1 + p["bias"])[None])) @ p["out"],
    lambda p, x: (x @ (p["in"] * jnp.arange(16.0)[None])) @ p["out"],
    lambda p, x: (x @ p["in"][::-1] + x @ p["in"]) @ p["out"],
    lambda p, x: jnp.cumsum(x @ jnp.sort(p["in"], axis=0), axis=1) @ p["out"],
    lambda p, x: lax.dot_general(p["in"], x, (((0,), (1,)), ((), ()))).T @ p["out"],
    lambda p, x: ((x - x.mean(0)[None]) @ p["in"]) @ p["out"],
    lambda p, x: (jnp.tanh(x) * 2 @ p["in"]) @ p["out"],
    lambda p, x: jax.checkpoint(lambda p, x: jnp.tanh(x @ p["in"]) @ p["out"])(p, x),
    lambda p, x: (x @ p["in"] + x @ lax.stop_gradient(p["in"])) @ p["out"],
    lambda p, x: jax.jit(logits)(p, x),
    lambda p, x: (x @ p["in"].T.T) @ p["out"] + x[:, :10],
    lambda p, x: (x[:, ::-1] @ p["in"]) @ p["out"],
    lambda p, x: (x.T.reshape(BATCH, COLUMNS) @ p["in"]) @ p["out"],
]


def test_forms_of_arithmetic(x64):
    forms = {f"model {n}": training(optax.adam(0.01), model) for n, model in enumerate(MODELS)}
    assert_all_same(forms)


def assert_matrices_are_stepped_as_alone(bodies):
    """Three steps of K members' matrices, with every body. Returns the loop of each, and what it
    began with."""
    batch = batches()
    loops = {
        name: lambda w, body=body: fused.fori_loop(3, body, w, batch, fused.columns(batch))
        for name, body in bodies.items()
    }
    alone = {
        name: lambda w, body=body: lax.fori_loop(
            0, 3, lambda i, w: body(i, {"x": batch["x"][i]}, w), w
        )
        for name, body in bodies.items()
    }
    every = lambda loops: jax.jit(lambda w: {name: loop(w) for name, loop in loops.items()})
    w, one_by_one = start()["in"], every(alone)
    ours, plain = jax.vmap(every(loops))(w), [one_by_one(one) for one in w]
    for name in bodies:
        np.testing.assert_allclose(
            ours[name], np.stack([one[name] for one in plain]), rtol=1e-9, err_msg=name
        )
    return loops, w


def test_gradients_as_they_are_before_they_are_transposed(x64):
    def stepped(change):
        def body(i, batch, w):
            hidden = batch["x"] @ w
            turned = lax.dot_general(hidden, batch["x"], (((0,), (0,)), ((), ())))  # [16, columns]
            return w - change(turned).T / 1000

        return body

    changes = {"sine": jnp.sin, "sums": lambda g: jnp.cumsum(g, axis=1), "none": lambda g: g}
    assert_matrices_are_stepped_as_alone({n: stepped(change) for n, change in changes.items()})


def test_other_precisions():
    forms, tolerances = training(optax.sgd(0.1)), {"float32": 1e-5, "bfloat16": 0.05}
    params = {dtype: start(dtype=dtype) for dtype in tolerances}
    typed = lambda form: (
        lambda params, rate: {
            dtype: forms[form](params[dtype], rate.astype(dtype))[0] for dtype in tolerances
        }
    )
    ours = jax.jit(jax.vmap(typed("ours")))(params, RATES)
    plain = jax.vmap(jax.jit(typed("plain")))(params, RATES)
    for dtype, tolerance in tolerances.items():
        pairs = zip(jax.tree.leaves(ours[dtype]), jax.tree.leaves(plain[dtype]), strict=True)
        for a, b in pairs:
            assert a.dtype == b.dtype == dtype
            a, b = np.asarray(a, float), np.asarray(b, float)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


SLOWER = {
    # by what would be slower: a model, its width
    "branches": (
        lambda p, x: lax.cond(p["bias"].sum() > 0, lambda: 2.0, lambda: 1.0) * logits(p, x),
        16,
    ),
    "loops": (
        lambda p, x: lax.fori_loop(0, 2, lambda i, w: w + p["bias"].sum(), x @ p["in"]) @ p["out"],
        10,
    ),
    "own products": (lambda p, x: jnp.tanh(x @ p["in"]) @ (p["in"].T @ p["in"]) @ p["out"], 96),
    "narrow even so": (logits, 6),  # rows of 24 numbers, four abreast
}


def test_what_would_be_slower_comes_one_after_the_other(x64, monkeypatch):
    monkeypatch.setattr(fused, "FEW", 0)
    cases = {name: training(optax.sgd(0.001), model) for name, (model, _) in SLOWER.items()}
    params = {name: start(width) for name, (_, width) in SLOWER.items()}
    assert_all_same(cases, params)
    for name, (_, width) in SLOWER.items():
        wide = (COLUMNS, K * width)
        found = products(cases[name]["ours"], params[name])
        assert wide not in [shapes[1] for shapes in found], name


def _by_rbg(w):
    words = jnp.full(4, 7, jnp.uint32) + w[0, :4].astype(jnp.uint32)
    return jax.random.normal(jax.random.wrap_key_data(words, impl="rbg"), w.shape, w.dtype)


NOT_THE_SAME = {
    # by the reason: what a step does
    "other bits under vmap": lambda w: w + _by_rbg(w) / 100,
    "unknown to vmap": lambda w: jax.pure_callback(lambda w: np.asarray(w) / 2, w, w),
    "both branches would run": lambda w: jax.checkpoint(
        lambda w: lax.cond(w.sum() > 0, jnp.sin, jnp.cos, w)
    )(w),
    "too large": lambda w: w + jnp.zeros((400, *w.shape), w.dtype).at[3].set(w).sum(0),
}


def test_steps_that_are_not_the_same_abreast_come_alone(x64):
    changed = lambda change: lambda i, batch, w: change(w) - (batch["x"] @ w).mean()
    bodies = {reason: changed(change) for reason, change in NOT_THE_SAME.items()}
    loops, w = assert_matrices_are_stepped_as_alone(bodies)
    for reason, run in loops.items():
        found = [e for e, _ in inside(run, w) if e.primitive.name == "dot_general"]
        assert {e.invars[1].aval.shape for e in found} == {(COLUMNS, 16)}, reason


def test_effects_are_each_members_own(x64):
    seen = []

    def body(i, batch, w):
        jax.debug.callback(seen.append, batch["x"].sum())
        return w - (batch["x"] @ w).mean()

    batch = batches()
    run = lambda w: fused.fori_loop(3, body, w, batch, fused.columns(batch))
    jax.block_until_ready(jax.jit(jax.vmap(run))(start()["in"]))
    jax.effects_barrier()
    assert len(seen) == 3 * K


def test_rows_without_columns():
    rows = {"x": jnp.zeros((STEPS, BATCH, 0))}
    body = lambda i, batch, carried: (carried[0] + 1, carried[1] + (batch["x"] @ carried[0]).sum())
    began = jnp.zeros((K, 0, 16)), jnp.ones(K)
    run = lambda own: fused.fori_loop(3, body, own, rows, fused.columns(rows))
    none, ones = jax.vmap(run)(began)
    assert none.shape == (K, 0, 16)
    np.testing.assert_array_equal(ones, 1)


def test_small_steps_are_abreast_without_shared_products(x64):
    own = lambda p, x: (x.std() * p["in"][:BATCH]) @ p["out"]
    forms = training(optax.sgd(0.1), own)
    assert_all_same({"own": forms})
    assert (K, BATCH, 16) in [left for left, _, _ in products(forms["ours"])]


@pytest.mark.parametrize(
    ("bytes", "size", "expected"),
    [
        (4, 1000, 16),
        (4, 1, 1),
        (4, 2, 2),
        (4, 3, 1),
        (4, 5, 1),
        (4, 7, 8),
        (4, 9, 2),
        (4, 15, 16),
        (4, 30, 16),
        (320_000, 128, 4),
        (700_000, 128, 2),
        (800_000, 128, 1),
    ],
)
def test_as_many_as_the_cache_holds_and_few_places_are_left_empty(bytes, size, expected):
    state = {"w": jax.ShapeDtypeStruct((bytes // 4,), jnp.float32)}
    assert fused.count(state, size) == expected


def wide_learner(**options):
    class Wide(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            dense = lambda width: nn.Dense(width, dtype=x.dtype, param_dtype=x.dtype)
            x = nn.BatchNorm(use_running_average=not train, dtype=x.dtype)(dense(12)(x))
            return dense(3)(vt.nn.Dropout(0.3)(nn.relu(x), deterministic=not train))

    parts = {"optimizer": lambda h: optax.sgd(h["lr"], momentum=0.9), "loss": xent, **options}
    return vt.flax_learner(Wide(), metrics={"accuracy": vt.metrics.accuracy}, **parts)


@pytest.mark.parametrize(("options", "sizes"), [({}, [3, 30]), ({"seeds": 2}, [7])], ids=str)
def test_a_sweep_is_the_one_that_takes_one_member_after_the_other(x64, options, sizes):
    """The settings of a smaller sweep are the first of a larger one."""
    learner, data = wide_learner(), blobs(features=40)
    run = lambda members, layout: vt.tune(
        learner, LR, data, search=vt.Halton(members), epochs=3, batch_size=16, layout=layout,
        progress=False, **options,
    )  # fmt: skip
    plain = run(max(sizes), "map")
    for members in sizes:
        ours = run(members, None)
        assert len(ours) == members
        for name in ("loss", "accuracy", "train/loss"):
            np.testing.assert_allclose(
                ours.history[name], plain.history[name][:, :members], rtol=1e-9, atol=1e-9
            )
        best = ours.best
        pairs = zip(
            *map(jax.tree.leaves, (best.variables, plain[best.index].variables)), strict=True
        )
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_a_member_that_diverges_disturbs_none_beside_it(x64):
    rates = [0.01, 1e200, 0.02, 0.03]
    learner, data = mlp_learner(optimizer=lambda h: optax.sgd(h["lr"])), blobs(features=40)
    run = lambda rates: vt.tune(
        learner, {"lr": vt.Float(1e-3, 1e300, log=True)}, data, epochs=2, batch_size=16,
        search=vt.Given([{"lr": rate} for rate in rates]), layout=vt.Layout(devices=1),
    )  # fmt: skip
    with_it, without = run(rates), run([0.01, 0.015, 0.02, 0.03])
    assert [member.status.startswith("diverged") for member in with_it] == [0, 1, 0, 0]
    for i in (0, 2, 3):
        np.testing.assert_allclose(
            with_it.history["loss"][:, i], without.history["loss"][:, i], rtol=1e-9
        )


class Traced(Exception):
    pass


def stop(*args, **kwargs):
    raise Traced


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"layout": vt.Layout(devices=1)}, True),
        ({"seeds": 2}, True),
        ({"refiner": vt.PBT()}, True),
        ({"layout": "map"}, False),
        ({"layout": "vmap"}, False),
        ({"layout": 2}, False),
        ({"patience": 2}, False),
        ({"epochs": "own"}, False),
        ({"data": "folds"}, False),
    ],
    ids=str,
)
def test_when_members_are_abreast(monkeypatch, options, expected):
    """As the program is traced; it is not compiled."""
    seen = []
    loop = fused.fori_loop
    monkeypatch.setattr(fused, "fori_loop", lambda *args: seen.append(args) or loop(*args))
    monkeypatch.setattr(jax.stages.Lowered, "compile", stop)
    if options.get("epochs"):
        options = {"epochs": lambda h: 3 if h["lr"] > 0.01 else 2}
    if options.get("data"):
        rng = np.random.default_rng(0)
        rows = {"x": rng.normal(size=(96, 40)), "y": rng.integers(0, 3, 96)}
        options = {"data": vt.kfold(rows, k=3, seed=0)}
    options = {"data": blobs(features=40), "epochs": 3, **options}
    with pytest.raises(Traced):
        vt.tune(mlp_learner(), LR, search=vt.Halton(8), batch_size=16, progress=False, **options)
    assert bool(seen) == expected
