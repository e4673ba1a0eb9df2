"""Public forms of nnx models, each as in a plain loop that calls the module itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import MLP, blobs
from solo import xent

import vtune as vt
from vtune.learner.nnx import NnxNet

DATA = blobs(features=6)
H = vt.Hparams({}, {})
KEY = vt.member_key(0, 0)
X = np.ones((4, 6), np.float32)


class Handed(nnx.Module):
    """As Flax's MNIST example: it keeps no streams, and a call must be given some."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(6, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)

    def __call__(self, x, rngs: nnx.Rngs):
        return self.dense(self.dropout(x, rngs=rngs))


class HandedOrNot(Handed):
    """As Flax's ViT example: the same with a default."""

    def __call__(self, x, rngs: nnx.Rngs | None = None):
        return super().__call__(x, rngs)


class Keeping(nnx.Module):
    """A module that keeps its streams, and would take others."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(6, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, rngs: nnx.Rngs | None = None):
        return self.dense(self.dropout(x, rngs=rngs))


class Stacked(nnx.Module):
    """Layers with dropout, stacked as in Flax's scan over layers: their keys have an axis."""

    def __init__(self, rngs):
        @nnx.split_rngs(splits=2)
        @nnx.vmap
        def make(rngs):
            return Block(rngs)

        self.layers = make(rngs)
        self.dense = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        @nnx.scan
        def run(x, layer):
            return layer(x), None

        return self.dense(run(x, self.layers)[0])


class Block(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(6, 6, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.dense(x))


def called(module, x, key):
    """A call in a training step of a plain loop."""
    module.train()
    if isinstance(module, Handed):
        return module(x, nnx.Rngs(dropout=key))
    tags = {leaf.tag for leaf in jax.tree.leaves(nnx.state(module, nnx.RngKey), is_leaf=is_key)}
    nnx.reseed(module, policy="match_shape", **dict.fromkeys(tags, key))
    return module(x)


def is_key(leaf):
    return isinstance(leaf, nnx.RngKey)


@pytest.mark.parametrize("model", [Handed, HandedOrNot, Keeping, Stacked])
def test_streams_are_those_of_a_plain_loop(model):
    step_key = jax.random.fold_in(KEY, 7)
    net = NnxNet(lambda h, rngs: model(rngs))
    params, other = net.init(KEY, H, {"x": X})
    got, _ = net.apply(step_key, H, params, other, {"x": X}, True)
    expected = called(model(nnx.Rngs(KEY)), X, step_key)
    assert (got == expected).all()
    unlike = called(model(nnx.Rngs(KEY)), X, KEY)
    assert (got != unlike).any()
    still, _ = net.apply(step_key, H, params, other, {"x": X}, False)
    assert (np.asarray(still) == np.asarray(still)[0]).all()  # equal rows, no dropout


class Loss(nnx.Variable):
    pass


class Sowing(Handed):
    """Keeps a loss of its own in the module, as Flax's VAE example does."""

    def __call__(self, x, rngs):
        self.penalty = Loss(jnp.mean(x**2))
        return super().__call__(x, rngs)


class Told(nnx.Module):
    """Told its mode by an attribute, with an argument that has another name than the data."""

    def __init__(self, rngs):
        self.training = False
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.table = jnp.arange(6.0)  # a plain array
        kernel = nnx.with_partitioning(nnx.initializers.ones, (None, "model"))  # without a mesh
        self.dense = nnx.Linear(6, 3, kernel_init=kernel, rngs=rngs)

    def __call__(self, x):
        return self.dense(x * self.table[None]), self.training


def applied(model, train, apply=None):
    net = NnxNet(model, apply)
    params, other = net.init(KEY, H, {"x": X})
    return net.apply(KEY, H, params, other, {"x": X}, train)[0]


@pytest.mark.filterwarnings("ignore:the model's batch statistics")
def test_a_mode_kept_in_an_attribute_is_switched():
    for train in (True, False):
        out, mode = applied(lambda h, rngs: Told(rngs), train)
        assert mode is train
        np.testing.assert_allclose(out, 15.0)


def test_batch_statistics_that_stay_are_told():
    with pytest.warns(UserWarning, match="batch statistics norm/mean and 1 more change in no"):
        applied(lambda h, rngs: Told(rngs), True)


def test_apply_calls_the_module_another_way():
    def apply(model, batch, *, train, rngs):
        out = model(batch["x"], rngs)
        return out, nnx.pop(model, Loss)["penalty"], train

    out, penalty, train = applied(lambda h, rngs: Sowing(rngs), True, apply)
    plain = Handed(nnx.Rngs(KEY))
    assert (out == plain(X, nnx.Rngs(KEY))).all()
    assert penalty == 1.0
    assert train


class Foreign(nnx.Module):
    """A layer that does not hand its rngs on: the default is made once, at import."""

    def __init__(self, rngs=nnx.Rngs(0)):  # noqa: B008
        self.dense = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.dense(x)


class Lengths(Handed):
    def __call__(self, x, length, rngs):
        return super().__call__(x, rngs)


class Wide(nnx.Module):
    def __init__(self, width, *, rngs):
        self.dense = nnx.Linear(6, width, rngs=rngs)


def make(model, **options):
    return vt.nnx_learner(model, optimizer=lambda h: optax.sgd(h["lr"]), loss=xent, **options)


def tune(model):
    vt.tune(make(model), {"lr": 0.1}, DATA, search=vt.Grid(), epochs=1, batch_size=8)


def failing(h, rngs):
    raise ZeroDivisionError


REFUSED = {
    "class": (lambda: make(Handed), TypeError, r"class Handed, .* takes \(rngs\); write lambda h,"),
    "class_widths": (
        lambda: make(Wide),
        TypeError,
        r"got the class Wide, .*write lambda h, rngs: Wide\(width=..., rngs=rngs\)",
    ),
    "instance": (
        lambda: make(Wide(3, rngs=nnx.Rngs(0))),
        TypeError,
        r"got an nnx module; write lambda h, rngs: Wide\(width=..., rngs=rngs\)",
    ),
    "linen": (lambda: make(MLP()), TypeError, r"MLP is a linen module; use vt.flax_learner"),
    "apply": (
        lambda: make(lambda h, rngs: Wide(3, rngs=rngs), apply=lambda model, batch: 1),
        TypeError,
        r"apply must take the arguments \(model, batch, \*, train, rngs\)",
    ),
    "to_linen": (
        lambda: vt.flax_learner(Wide, optimizer=lambda h: optax.sgd(0.1), loss=xent),
        TypeError,
        r"Wide is an nnx module; use vt.nnx_learner\(lambda h, rngs: Wide\(...",
    ),
    "foreign": (
        lambda: tune(lambda h, rngs: Foreign()),
        TypeError,
        r"random streams made outside the model.*rngs=nnx.Rngs\(0\).*Layer\(..., rngs=rngs\)",
    ),
    "created": (
        lambda: tune(lambda h, rngs: Sowing(rngs)),
        TypeError,
        r"call creates variables \(penalty\).*return the values.*nnx.pop",
    ),
    "arguments": (
        lambda: tune(lambda h, rngs: Lengths(rngs)),
        ValueError,
        r"takes \['x', 'length', 'rngs'\].*apply=lambda model, batch, \*, train, rngs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_says_what_to_write_before_compiling(name, refused):
    run, error, says = REFUSED[name]
    with refused(error, says):
        run()


def test_a_model_that_fails_when_it_is_made_is_shown_what_it_was_given():
    with pytest.raises(ZeroDivisionError) as raised:
        tune(failing)
    (note,) = (n for n in raised.value.__notes__ if n.startswith("vtune called"))
    assert note.startswith("vtune called model with h {'lr': 0.1")
