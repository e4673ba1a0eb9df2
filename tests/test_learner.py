"""What flax_learner and nnx_learner do with their parts."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import MLP, blobs, mlp_learner
from sklearn.metrics import f1_score
from solo import batches, largest_difference, own_rows, xent

import vtune as vt
from vtune.learner.checked import checked
from vtune.learner.contracts import call_arguments
from vtune.returned import ReturnedError

DATA = blobs()
ONE = {"lr": vt.Float(0.05, 0.05)}


def weights_after(learner, steps=6, **options):
    sweep = vt.tune(learner, ONE, DATA, search=vt.Random(1), steps=steps, batch_size=16, **options)
    return sweep[0].variables, sweep


def reference(objective, steps=6):
    """SGD on objective(params, batch), in a plain loop."""
    params = jax.jit(MLP().init)(vt.member_key(0, 0), DATA.arrays["x"][:1])["params"]

    @jax.jit
    def step(params, batch):
        grads = jax.grad(objective)(params, batch)
        return jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)

    for batch in batches(DATA, 0, steps, 16):
        params = step(params, batch)
    return {"params": params}


def logits(params, batch):
    return MLP().apply({"params": params}, batch["x"])


def test_penalty_is_added():
    l2 = lambda params: sum(jnp.sum(p**2) for p in jax.tree.leaves(params))
    got, _ = weights_after(mlp_learner(penalty=lambda params, h: h["lr"] * l2(params)))
    plain = lambda p, b: xent(logits(p, b), b, None).mean() + 0.05 * l2(p)
    assert largest_difference(got, reference(plain)) < 1e-6


@pytest.mark.parametrize("shape", ["rows", "values"])
def test_weights_make_a_weighted_mean(shape):
    def loss(outputs, batch, h):
        values = jnp.square(outputs - jax.nn.one_hot(batch["y"], 3))  # [batch, 3]
        weights = 1.0 + batch["y"]
        return values, weights if shape == "rows" else values * 0 + weights[:, None]

    def plain(params, batch):
        values, weights = loss(logits(params, batch), batch, None)
        weights = jnp.broadcast_to(weights.reshape(len(weights), -1), values.shape)
        return (values * weights).sum() / weights.sum()

    got, sweep = weights_after(mlp_learner(loss=loss))
    assert largest_difference(got, reference(plain)) < 1e-6
    valid = {k: v[np.asarray(DATA.valid)] for k, v in DATA.arrays.items()}
    expected = float(jax.jit(plain)(got["params"], valid))
    assert sweep.history["loss"][-1, 0] == pytest.approx(expected, rel=1e-5)


def test_batch_loss_takes_the_place_of_loss():
    whole = lambda outputs, batch, h: xent(outputs, batch, None).mean() ** 2
    learner = mlp_learner(loss=None, batch_loss=whole)
    got, sweep = weights_after(learner, eval_batch_size=10)
    plain = lambda p, b: whole(logits(p, b), b, None)
    assert largest_difference(got, reference(plain)) < 1e-6
    valid = np.asarray(DATA.valid)  # 24 rows: the last 4 are judged with the first 6
    judge = jax.jit(plain)
    rows = np.append(valid, valid[:6]).reshape(3, 10)
    parts = [judge(got["params"], own_rows(DATA, r)) for r in rows]
    expected = float(np.average(parts, weights=[10, 10, 4]))
    assert sweep.history["loss"][-1, 0] == pytest.approx(expected, rel=1e-5)


def test_batch_loss_takes_whatever_comes_out():
    """A model that returns its own loss, and logits whose rows come second."""

    class OwnLoss(MLP):
        @nn.compact
        def __call__(self, x, y):
            out = super().__call__(x)
            return xent(out, {"y": y}, None).mean(), jnp.stack([out, -out])

    learner = vt.flax_learner(
        OwnLoss(),
        optimizer=lambda h: optax.sgd(h["lr"]),
        batch_loss=lambda outputs, batch, h: outputs[0],
        metrics={"accuracy": vt.metrics.mean(lambda o, b: o[1][0].argmax(axis=-1) == b["y"])},
    )
    got, sweep = weights_after(learner, eval_batch_size=6)
    mean = lambda p, b: xent(logits(p, b), b, None).mean()
    assert largest_difference(got, reference(mean)) < 1e-6
    valid = own_rows(DATA, np.asarray(DATA.valid))
    assert sweep.history["loss"][-1, 0] == pytest.approx(
        float(mean(got["params"], valid)), rel=1e-5
    )
    own, both = sweep.predict({k: v[:7] for k, v in valid.items()})
    assert own.shape == (2,)  # two batches of 6
    assert both.shape == (2, 2, 6, 3)


def test_apply_calls_the_module_another_way():
    class TwoWays(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.norm = nn.BatchNorm()

        def logits(self, image, flag):
            return self.dense(self.norm(image, use_running_average=not flag))

    def apply(model, variables, batch, *, train, rngs, mutable):
        return model.apply(
            variables, batch["x"], train, rngs=rngs, mutable=mutable, method="logits"
        )

    learner = vt.flax_learner(
        TwoWays(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent, apply=apply
    )
    got, sweep = weights_after(learner)
    init = jax.jit(lambda key, x: TwoWays().init(key, x, False, method="logits"))
    start = init(vt.member_key(0, 0), DATA.arrays["x"][:1])
    assert jax.tree.structure(got) == jax.tree.structure(start)
    moved = largest_difference(got["batch_stats"], start["batch_stats"])
    assert moved > 0.1
    assert sweep.predict(np.asarray(DATA.arrays["x"])[:5]).shape == (5, 3)


def test_bf16_weights_stay_bf16():
    """Adam with a traced rate returns float32 updates."""

    class Half(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x.astype(jnp.bfloat16)
            return nn.Dense(3, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)(x)

    learner = vt.flax_learner(Half(), optimizer=lambda h: optax.adam(h["lr"]), loss=xent)
    got, sweep = weights_after(learner)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(got)} == {"bfloat16"}
    assert np.isfinite(sweep.history["loss"]).all()
    assert sweep.history["loss"].dtype == np.float32


def test_intermediates_are_not_carried():
    class Sowing(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "seen", x)
            return nn.Dense(3)(x)

    learner = vt.flax_learner(Sowing(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent)
    assert set(weights_after(learner)[0]) == {"params"}


def test_nnx_layers_see_the_current_traced_attribute():
    """A rate kept as an attribute is this member's own, and BatchNorm statistics move."""

    class Net(nnx.Module):
        def __init__(self, scale, rngs):
            self.scale = scale
            self.norm = nnx.BatchNorm(6, rngs=rngs)
            self.dense = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.dense(self.norm(x)) * self.scale

    learner = vt.nnx_learner(
        lambda h, rngs: Net(h["scale"], rngs), optimizer=lambda h: optax.sgd(0.05), loss=xent
    )
    space = {"scale": vt.Ordinal([0.0, 1.0])}
    sweep = vt.tune(learner, space, DATA, search=vt.Grid(), epochs=2, batch_size=16)
    assert sweep.history["loss"][-1, 0] == pytest.approx(np.log(3), abs=1e-5)
    assert sweep.history["loss"][-1, 1] != pytest.approx(np.log(3), abs=1e-2)
    assert float(np.abs(sweep[0].variables["norm"]["mean"]).max()) > 0.01


def test_nnx_arrays_drawn_once_stay():
    """Random features that are no Variable: the same in every step and when predicting."""

    class Features(nnx.Module):
        def __init__(self, rngs):
            self.project = jax.random.normal(rngs.params(), (6, 8))
            self.dense = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.dense(jnp.cos(x @ self.project))

    learner = vt.nnx_learner(
        lambda h, rngs: Features(rngs), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent
    )
    sweep = vt.tune(learner, ONE, DATA, search=vt.Random(2), epochs=3, batch_size=16)
    x, y = (np.asarray(DATA.arrays[k])[np.asarray(DATA.valid)] for k in "xy")
    loss = float(xent(jnp.asarray(sweep.predict(x, member=1)), {"y": y}, None).mean())
    assert sweep.history["loss"][-1, 1] == pytest.approx(loss, abs=1e-5)
    model = Features(nnx.Rngs(vt.member_key(0, 1)))
    nnx.update(model, sweep[1].variables)
    np.testing.assert_allclose(model(x), sweep.predict(x, member=1), atol=1e-5)


def test_models_may_sample_when_they_predict_and_return_scalars():
    class Sampling(nn.Module):
        @nn.compact
        def __call__(self, x):
            z = nn.Dense(3)(x)
            return z + 0.1 * jax.random.normal(self.make_rng("noise"), z.shape), jnp.mean(z)

    learner = vt.flax_learner(
        Sampling(),
        optimizer=lambda h: optax.sgd(h["lr"]),
        loss=lambda out, batch, h: xent(out[0], batch, h) + 0.01 * out[1] ** 2,
    )
    _, sweep = weights_after(learner)
    logits, mean = sweep.predict(np.asarray(DATA.arrays["x"])[:5])
    assert logits.shape == (5, 3)
    assert mean.shape == (1,)


def test_arguments_are_found_by_name():
    batch = {"x": 1, "y": 2, "mask": 3}
    cases = [
        (lambda x: ..., ([], {"x": 1})),
        (lambda x, train: ..., ([], {"x": 1, "train": True})),
        (lambda inputs, *, deterministic=False: ..., ([], {"inputs": 1, "deterministic": False})),
        (lambda x, mask=None, other=5: ..., ([], {"x": 1, "mask": 3})),
        (lambda *args, **kwargs: ..., ([1], {})),
        (lambda x, training=None: ..., ([], {"x": 1, "training": True})),
    ]
    for call, expected in cases:
        assert call_arguments(call, batch, True) == expected
    with pytest.raises(ValueError, match=r"takes \['x', 'length'\], the data has"):
        call_arguments(lambda x, length: ..., batch, True)


def test_hparams_are_a_mapping_and_a_pytree():
    h = vt.Hparams({"lr": jnp.ones(())}, {"act": "relu", "sizes": [1, 2]})
    assert dict(**h)["act"] == "relu"
    assert "lr" in h
    assert "x" not in h
    assert h.get("x", 3) == 3
    doubled = jax.jit(lambda h: jax.tree.map(lambda v: 2 * v, h))(h)
    assert float(doubled["lr"]) == 2.0
    assert doubled["sizes"] == [1, 2]


def test_train_metrics_are_of_all_training_batches_of_a_round():
    """F1 of the round's rows together, not the mean of the batches' values; weights that hardly
    move, so that a plain count says what it must be."""
    learner = mlp_learner(
        train_metrics={"accuracy": vt.metrics.accuracy, "f1": vt.metrics.f1(average="macro")}
    )
    still = {"lr": vt.Float(1e-9, 1e-9)}
    sweep = vt.tune(learner, still, DATA, search=vt.Random(2), epochs=2, batch_size=16)
    for member in sweep:
        rows = np.asarray(DATA.rows(0, 1, 16)).ravel()
        y = np.asarray(DATA.arrays["y"])[rows]
        predicted = np.asarray(member.predict(np.asarray(DATA.arrays["x"])[rows])).argmax(axis=-1)
        f1 = f1_score(y, predicted, average="macro")
        expected = {"accuracy": np.mean(predicted == y), "f1": f1}
        for name, value in expected.items():
            assert member.history[f"train/{name}"][1] == pytest.approx(value, abs=1e-6)
    assert "train/f1" in sweep.table()


@pytest.mark.parametrize(
    ("metrics", "error", "says"),
    [
        ({"auc": vt.metrics.roc_auc("ovr")}, TypeError, r"train_metrics\['auc'\] needs every row"),
        ({"f1": vt.metrics.f1}, ValueError, r"train_metrics\['f1'\]: f1 is of two classes"),
        ({"loss": vt.metrics.accuracy}, ValueError, r"train_metrics: the name 'loss' is reserved"),
        ([vt.metrics.accuracy], TypeError, r"train_metrics must be a dict"),
    ],
)
def test_wrong_train_metrics_are_named(metrics, error, says, refused):
    with refused(error, says):
        weights_after(mlp_learner(train_metrics=metrics))


def test_functions_of_no_module_are_checked():
    """As code that is run by `exec` makes them."""
    names = {}
    exec("def score(totals):\n    return totals", names)
    assert names["score"].__module__ is None
    with pytest.raises(ReturnedError, match="return a dict of metrics by name"):
        checked("score", names["score"], "totals")(1.0)
