"""Public forms of linen models, each as its own `model.init` and `model.apply` in a plain loop."""

import contextlib
import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.errors import InvalidRngError
from problems import blobs
from solo import batches, largest_difference, xent

import vtune as vt
from vtune.learner.linen import LinenNet

DATA = blobs(features=6)
SEQUENCES = blobs(features=6, shape=(3, 2))
H = vt.Hparams({}, {})
KEY = vt.member_key(0, 0)


class Cell(nn.RNNCellBase):
    """A cell whose dropout draws anew at every time."""

    train: bool = True
    num_feature_axes = 1

    @nn.compact
    def __call__(self, carry, x):
        x = nn.Dropout(0.5, deterministic=not self.train)(x)
        return nn.SimpleCell(3)(carry, x)

    def initialize_carry(self, key, shape):
        return jnp.zeros((*shape[:-1], 3))


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        split = {"params": False, "dropout": True}
        return nn.RNN(Cell(train), split_rngs=split)(x)[:, -1]


class Noisy(nn.Module):
    """Adds noise of a stream of its own, and a weight."""

    stream: str = "noise"

    @nn.compact
    def __call__(self, carry, x):
        noise = jax.random.normal(self.make_rng(self.stream), x.shape)
        return carry, x + noise


class Scanned(nn.Module):
    """A scan over time that hands on the stream `noise` alone: refused without its key."""

    @nn.compact
    def __call__(self, x):
        scan = nn.scan(Noisy, split_rngs={"noise": True}, in_axes=1, out_axes=1)
        return nn.Dense(3)(scan()((), x)[1].reshape(len(x), -1))


class Samples(nn.Module):
    """Several samples of one layer: other noise and dropout, the same weights."""

    @nn.compact
    def __call__(self, x, train=False):
        many = nn.vmap(
            Sample,
            in_axes=None,
            axis_size=2,
            variable_axes={"params": None},
            split_rngs={"params": False, "noise": True, "dropout": True},
        )
        return many(not train)(x.reshape(len(x), -1)).mean(axis=0)


class Sample(nn.Module):
    deterministic: bool

    @nn.compact
    def __call__(self, x):
        x = nn.Dropout(0.5, deterministic=self.deterministic)(x)
        return nn.Dense(3)(Noisy()((), x)[1])


LIFTED = {"recurrent": Recurrent(), "scanned": Scanned(), "samples": Samples()}


def plain_steps(model, data, steps, rngs_of, init_rngs, **mode):
    """SGD in a plain loop; its variables."""

    @jax.jit
    def step(params, batch, key):
        def loss(params):
            out = model.apply({"params": params}, batch["x"], rngs=rngs_of(key), **mode)
            return xent(out, batch, None).mean()

        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    params = jax.jit(model.init)(init_rngs, data.arrays["x"][:8])["params"]
    for number, batch in enumerate(batches(data, 0, steps, 8)):
        params = step(params, batch, jax.random.fold_in(init_rngs["params"], number))
    return params


def test_lifted_streams_draw_as_with_keys_under_their_names():
    """A key under "params" alone gives every time step, and every sample, the same numbers."""
    learner = vt.flax_learner(
        lambda h: LIFTED[h["model"]], optimizer=lambda h: optax.sgd(0.1), loss=xent
    )
    space = {"model": vt.Categorical(list(LIFTED))}
    sweep = vt.tune(learner, space, SEQUENCES, search=vt.Grid(), steps=3, batch_size=8)
    for member in sweep:
        model = LIFTED[member.hparams["model"]]
        mode = {} if member.hparams["model"] == "scanned" else {"train": True}
        key = vt.member_key(0, member.index)
        streams = lambda key: {"dropout": key, "noise": key}
        expected = plain_steps(model, SEQUENCES, 3, streams, {"params": key, "noise": key}, **mode)
        assert largest_difference(member.variables["params"], expected) < 1e-6


class Apart(nn.Module):
    """Two streams in two modules, none of them lifted."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return Noisy()((), x)[1]


class Together(nn.Module):
    """Two streams in one module."""

    @nn.compact
    def __call__(self, x):
        a, b = (jax.random.normal(self.make_rng(name), x.shape) for name in ("time", "noise"))
        return jnp.stack([a, b], axis=1)


class Has(nn.Module):
    """Its mode is whether there is a stream for dropout."""

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=not self.has_rng("dropout"))(x)


def outputs(model, train, **options):
    net = LinenNet(model, options.get("apply"))
    x = jnp.ones((4, 6))
    params, other = net.init(KEY, H, {"x": x})
    return net.apply(KEY, H, params, other, {"x": x}, train)[0]


def test_the_key_under_its_own_name_changes_no_plain_model():
    x = jnp.ones((4, 6))
    got = outputs(Apart(), True)
    for rngs in ({"params": KEY}, {"dropout": KEY, "noise": KEY}):
        assert (got == Apart().apply({}, x, True, rngs=rngs)).all()
    assert (outputs(Has(), True) == Has().apply({}, x, rngs={"dropout": KEY})).all()
    assert (outputs(Has(), False) == x).all()


def test_streams_of_one_module_draw_different_numbers():
    """The later one, in alphabetical order, gets the key folded with its place."""
    x = jnp.ones((4, 6))
    got = outputs(Together(), True)
    assert (got[:, 0] != got[:, 1]).all()
    rngs = {"noise": KEY, "time": jax.random.fold_in(KEY, 1)}
    assert (got == Together().apply({}, x, rngs=rngs)).all()


def test_a_stream_that_apply_does_not_hand_on_is_named_by_flax():
    forgetful = lambda model, variables, batch, *, train, rngs, mutable: model.apply(
        variables, batch["x"], mutable=mutable
    )
    with pytest.raises(InvalidRngError):
        outputs(Apart(), True, apply=forgetful)
    own = lambda model, variables, batch, *, train, rngs, mutable: model.apply(
        variables, batch["x"], train, rngs={"dropout": rngs["params"], **rngs}, mutable=mutable
    )
    assert (outputs(Apart(), True, apply=own) == outputs(Apart(), True)).all()


class Flagged(nn.Module):
    """Dropout and batch statistics, told by a flag."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        return nn.Dropout(0.5, deterministic=not train)(x)


def told_by(name, sign, *default):
    """A module whose `__call__` is told its mode by an argument of this name."""
    source = f"def __call__(self, x, {name}{f'={default[0]}' if default else ''}):\n"
    source += f"    return Flagged()(x, {name if sign else f'not {name}'})"
    made = {}
    exec(source, globals(), made)
    return type("Told", (nn.Module,), {"__call__": nn.compact(made["__call__"])})()


class Field(nn.Module):
    """The mode as a field; what `setup` makes of it follows."""

    training: bool = True

    def setup(self):
        self.inner = Inner(use_running_average=not self.training)

    def __call__(self, x):
        return self.inner(x)


class Inner(nn.Module):
    use_running_average: bool

    @nn.compact
    def __call__(self, x):
        return Flagged()(x, not self.use_running_average)


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.5
    deterministic: bool = False
    evaluate: bool = True  # may be another thing in an object of settings
    train: bool = dataclasses.field(default=True, init=False)  # is not ours to set


class Configured(nn.Module):
    config: Settings = Settings()

    @nn.compact
    def __call__(self, x):
        assert self.config.evaluate
        return Flagged()(x, not self.config.deterministic)


MODES = {
    "is_training": told_by("is_training", True, False),
    "train_mode": told_by("train_mode", True),
    "eval": told_by("eval", False, True),
    "use_running_average": told_by("use_running_average", False, True),
    "inference": told_by("inference", False, None),
    "field": Field(),
    "field_off": Field(training=False),
    "settings": Configured(),
    "in_layers": nn.Sequential(
        [nn.BatchNorm(False, momentum=0.5), nn.Dropout(0.5, deterministic=False)]
    ),
}


@pytest.mark.parametrize("name", MODES)
def test_the_mode_is_switched_under_its_usual_names(name):
    net, x = LinenNet(MODES[name], None), jnp.ones((4, 6)) * jnp.arange(4)[:, None]
    params, other = net.init(KEY, H, {"x": x})
    with calls() as training:
        out, changed = net.apply(KEY, H, params, other, {"x": x}, True)
    assert (out == 0).any()
    (mean,) = (v["mean"] for v in modules_with(changed["batch_stats"], "mean"))
    np.testing.assert_allclose(mean, 0.75)  # half way from 0 to the rows' mean of 1.5
    with calls() as evaluation:
        out, changed = net.apply(KEY, H, params, other, {"x": x}, False)
    assert (len(training), len(evaluation)) == (2, 1)  # streams are looked for once
    np.testing.assert_allclose(out, x, rtol=1e-4)  # neither dropout nor the rows' mean
    assert largest_difference(changed, other) == 0


@contextlib.contextmanager
def calls():
    """Notes the calls of whole models, in the list that it gives."""
    seen = []

    def note(method, args, keywords, context):
        if context.method_name == "__call__" and not context.module.path:
            seen.append(context.module)
        return method(*args, **keywords)

    with nn.intercept_methods(note):
        yield seen


def modules_with(tree, name):
    """The modules of a collection that hold a variable of this name."""
    if name in tree:
        return [tree]
    return [found for part in tree.values() for found in modules_with(part, name)]


def test_what_a_model_freezes_in_its_own_fields_stays_so():
    frozen = nn.Sequential([nn.BatchNorm(True), nn.Dropout(0.5, deterministic=True)])
    net, x = LinenNet(frozen, None), jnp.ones((4, 6))
    params, other = net.init(KEY, H, {"x": x})
    with pytest.warns(UserWarning, match="batch_stats/layers_0/mean and 1 more change in no"):
        out, changed = net.apply(KEY, H, params, other, {"x": x}, True)
    np.testing.assert_allclose(out, x, rtol=1e-4)
    assert largest_difference(changed, other) == 0


def test_a_mode_that_is_not_switched_is_told_before_compiling(compilations):
    def run(model):
        learner = vt.flax_learner(model, optimizer=lambda h: optax.sgd(h["lr"]), loss=xent)
        vt.tune(learner, {"lr": 0.1}, DATA, search=vt.Grid(), epochs=1, batch_size=8)

    class Normal(nn.Module):
        @nn.compact
        def __call__(self, x, moving=False):
            return nn.BatchNorm(use_running_average=not moving)(x)

    said = r"statistics batch_stats/BatchNorm_0/mean and 1 more change in no training.*apply="
    with compilations() as seen, pytest.raises(UserWarning, match=said):
        run(Normal())
    with compilations() as again, pytest.raises(UserWarning, match=r"learning=True alone.*=train"):
        run(told_by("learning", True, False))
    assert seen.count == again.count == 0


class Normed(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x, train=False):
        if self.kind == "weight":
            return nn.WeightNorm(nn.Dense(3))(x)
        if self.kind == "spectral":
            return nn.SpectralNorm(nn.Dense(3))(x, update_stats=train)
        if self.kind == "mutable":  # the mode is whether averages may be written
            fixed = not self.is_mutable_collection("batch_stats")
            return nn.BatchNorm(use_running_average=fixed)(x)
        return nn.BatchNorm(use_running_average=not train, axis_name="devices")(x)


def by_hand(model, variables, batch, *, train, rngs, mutable):
    rngs = {"dropout": rngs["dropout"]} if variables else rngs
    return model.apply(variables, batch["x"], train, rngs=rngs, mutable=mutable)


@pytest.mark.parametrize("apply", [None, by_hand], ids=["call", "apply"])
@pytest.mark.parametrize("kind", ["weight", "spectral", "mutable", "axis"])
def test_variables_are_those_of_the_models_own_init(kind, apply):
    model, x = Normed(kind), jnp.ones((4, 6)) * jnp.arange(4)[:, None]
    params, other = LinenNet(model, apply).init(KEY, H, {"x": x})
    expected = model.init(KEY, x)
    assert largest_difference({"params": params, **other}, expected) == 0
    net = LinenNet(model, apply)
    got, changed = net.apply(KEY, H, params, other, {"x": x}, True)
    if kind == "axis":  # the batch is not cut up, so the axis changes nothing
        plain = nn.BatchNorm(use_running_average=False)
        expected = {c: tree["BatchNorm_0"] for c, tree in expected.items()}
        changed = {c: tree["BatchNorm_0"] for c, tree in changed.items()}
        out, after = plain.apply(expected, x, mutable=list(other))
    else:
        out, after = model.apply(expected, x, True, mutable=list(other))
    np.testing.assert_allclose(got, out, atol=1e-6)
    assert not other or largest_difference(changed, after) < 1e-6


def test_an_apply_that_hands_nothing_on_says_so():
    forgetful = lambda model, variables, batch, *, train, rngs, mutable: model.apply(
        variables, batch["x"], rngs=rngs
    )
    with pytest.raises(TypeError, match=r"apply must return \(outputs, variables\).*=mutable"):
        outputs(Apart(), True, apply=forgetful)

    def dropping(model, variables, batch, *, train, rngs, mutable):
        made = model.apply(variables, batch["x"], train, rngs=rngs, mutable=mutable)
        return made[0] if train else made

    with pytest.raises(TypeError, match=r"apply must return .*; got .*: hand on mutable=mutable"):
        outputs(Flagged(), True, apply=dropping)
    with pytest.raises(TypeError, match=r"apply must take .*batch, \*, train, rngs, mutable\)"):
        vt.flax_learner(
            Apart(), optimizer=lambda h: optax.sgd(0.1), loss=xent, apply=lambda model, batch: 1
        )


class Balanced(nn.Module):
    """Sows a part of its loss, as mixtures of experts do."""

    @nn.compact
    def __call__(self, x):
        z = nn.Dense(3)(x)
        self.sow("losses", "size", jnp.mean(z**2))
        return z


def test_a_sown_loss_is_part_of_the_outputs():
    def loss(outputs, batch, h):
        logits, sown = outputs
        return xent(logits, batch, h) + 0.5 * sown["losses"]["size"][0]

    def plain(params):
        out, sown = Balanced().apply({"params": params}, batch["x"], mutable=["losses"])
        return loss((out, sown), batch, None).mean()

    batch = {"x": jnp.ones((4, 6)) * jnp.arange(4)[:, None], "y": jnp.array([0, 1, 2, 1])}
    learner = vt.flax_learner(
        Balanced(), optimizer=lambda h: optax.sgd(0.1), loss=loss, sown=["losses"]
    )
    state = learner.init(KEY, H, batch)
    params = Balanced().init(KEY, batch["x"])["params"]
    moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(plain)(params))
    after, _ = learner.step(KEY, H, state, batch)
    assert set(learner.variables(after)) == {"params"}
    assert largest_difference(learner.variables(after)["params"], moved) < 1e-6
    total, count = learner.measure(KEY, H, state, batch, jnp.ones(4))["loss"]
    assert float(total / count) == pytest.approx(float(plain(params)))
    with pytest.raises(TypeError, match=r"sown='losses' must be names .*write sown=\[\"losses"):
        vt.flax_learner(Balanced(), optimizer=lambda h: optax.sgd(0.1), loss=loss, sown="losses")
