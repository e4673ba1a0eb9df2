"""Weights from elsewhere, whole or in part, with frozen parts and rates of their own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import LR, MLP, blobs, mlp_learner, quadratic
from solo import largest_difference, plain_loop, xent

import vtune as vt

pytestmark = pytest.mark.slow

DATA = blobs()
LEARNER = mlp_learner()  # one for all, so that equal plans are one program


def frozen_first(h):
    """The first layer stays, the second has a tenth of the rate on its bias."""

    def labels(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "still" if path[0].key == "Dense_0" else path[1].key, params
        )

    rates = {"still": optax.set_to_zero(), "kernel": optax.sgd(h["lr"])}
    return optax.multi_transform({**rates, "bias": optax.sgd(h["lr"] / 10)}, labels)


def tune(learner, space=LR, **options):
    return vt.tune(
        learner, space, DATA, **{"search": vt.Halton(3), "epochs": 2, "batch_size": 16, **options}
    )


def test_a_part_of_the_weights_frozen_equals_a_plain_loop(x64):
    elsewhere = jax.jit(MLP().init)(jax.random.key(7), DATA.arrays["x"])["params"]
    part = {"Dense_0": elsewhere["Dense_0"]}
    learner = vt.flax_learner(MLP(), optimizer=frozen_first, loss=xent)
    sweep = tune(learner, init_from={"params": part})
    train = plain_loop(lambda h: MLP(), frozen_first)
    variables, _, metrics = train(
        sweep[2].hparams, DATA, seed=0, id=2, steps=8, batch_size=16, start=part
    )
    assert largest_difference(variables, sweep[2].variables) < 1e-9
    assert metrics["loss"] == pytest.approx(sweep[2].score, abs=1e-9)
    for member in sweep:
        own = member.variables["params"]["Dense_0"]
        np.testing.assert_array_equal(own["kernel"], part["Dense_0"]["kernel"])
    again = sweep.rerun(2)
    assert again.score == pytest.approx(sweep[2].score, abs=1e-12)


@pytest.mark.parametrize("devices", [(2, 1), (1, 2)])
def test_weights_of_other_devices_are_taken(devices):
    first, then = (vt.Layout(devices=n) for n in devices)
    learner = LEARNER
    best = tune(learner, layout=first).best
    second = tune(learner, {"lr": vt.Float(1e-8, 1e-7)}, init_from=best, layout=then)
    assert second[0].score == pytest.approx(best.score, rel=1e-3)


def test_a_loaded_sweep_knows_where_it_started(tmp_path):
    learner = LEARNER
    part = {"Dense_1": {"bias": np.array([1.0, -1.0, 2.0], np.float32)}}
    sweep = tune(learner, init_from=part)
    sweep.save(tmp_path / "run")
    again = vt.load(tmp_path / "run", learner).rerun(1, data=DATA)
    assert again.score == pytest.approx(sweep[1].score, rel=1e-5)


def test_all_members_go_on_from_a_member(compilations):
    first = tune(LEARNER)
    learner = LEARNER
    options = {"space": {"lr": vt.Float(1e-7, 1e-6)}}
    second = tune(learner, init_from=first.best, **options)
    for member in second:
        assert member.score == pytest.approx(first.best.score, abs=1e-3)
        assert largest_difference(member.variables, first.best.variables) < 1e-3
    params_alone = first[0].variables["params"]
    with compilations() as seen:  # other weights of the same shapes are the same program
        third = tune(learner, init_from={"params": params_alone}, **options)
    assert seen.count == 0
    assert third[0].score == pytest.approx(first[0].score, abs=1e-3)
    fourth = tune(learner, init_from=params_alone, **options)
    assert fourth[0].score == third[0].score


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


def test_statistics_are_taken_over_too_and_optimizers_start_there():
    optimizer = lambda h: optax.contrib.schedule_free_sgd(h["lr"], b1=0.9)
    learner = vt.flax_learner(Normed(), optimizer=optimizer, loss=xent)
    tiny = {"lr": vt.Float(1e-8, 1e-7)}
    mean = {"batch_stats": {"BatchNorm_0": {"mean": jnp.full(6, 100.0)}}}
    kernel = {"params": {"Dense_0": {"kernel": jnp.full((6, 3), 0.5)}}}
    sweep = tune(learner, tiny, init_from={**mean, **kernel}, steps=1, epochs=None)
    stats = sweep[0].variables["batch_stats"]["BatchNorm_0"]
    assert float(stats["mean"].min()) > 90
    state = sweep[0].state
    np.testing.assert_allclose(state.params["Dense_0"]["kernel"], 0.5, atol=1e-5)
    np.testing.assert_allclose(state.opt_state.z["Dense_0"]["kernel"], 0.5, atol=1e-5)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(6, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.norm(nnx.relu(self.hidden(x))))


def test_nnx_takes_its_own_state():
    learner = vt.nnx_learner(
        lambda h, rngs: Net(rngs), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent
    )
    first = tune(learner, epochs=3)
    tiny = {"lr": vt.Float(1e-8, 1e-7)}
    whole = tune(learner, tiny, init_from=first.best, steps=1, epochs=None)
    assert largest_difference(whole[0].variables["out"], first.best.variables["out"]) < 1e-5
    module = Net(nnx.Rngs(5))
    part = tune(learner, tiny, init_from=nnx.state(module), steps=1, epochs=None)
    np.testing.assert_allclose(
        part[1].variables["hidden"]["kernel"], module.hidden.kernel[...], atol=1e-5
    )


@pytest.mark.parametrize(
    ("weights", "error", "says"),
    [
        (
            {"params": {"Dense_9": {"bias": np.zeros(3)}}},
            ValueError,
            r"init_from: the model has no 'Dense_9' \(known here: 'Dense_0', 'Dense_1'\); leave",
        ),
        (
            {"params": {"Dense_0": {"kernel": np.zeros((6, 9))}}},
            ValueError,
            r"Dense_0/kernel has shape \[6, 9\], but \[6, 8\] in the model; leave it out",
        ),
        (
            {"params": {}, "batch_stats": {"BatchNorm_0": {"mean": np.zeros(8)}}},
            ValueError,
            r"the model has no 'batch_stats' \(known here: none\)",
        ),
        (
            {"params": {"Dense_0": np.zeros(3)}},
            ValueError,
            r"Dense_0 is a branch in the model",
        ),
        (
            {"params": {}},
            TypeError,
            r"init_from must be a tree of weights, got dict; give sweep.best",
        ),
        (3, TypeError, r"init_from must be a tree of weights, got int"),
        (
            {"params": {"Dense_0": {"bias": np.full(8, np.nan)}}},
            ValueError,
            r"init_from: .* holds 8 NaN or infinite values",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(weights, error, says, refused):
    with refused(error, says):
        tune(LEARNER, init_from=weights)


class Deep(nn.Module):
    """So many layers, and a head."""

    layers: int

    @nn.compact
    def __call__(self, x):
        for number in range(self.layers):
            x = nn.relu(nn.Dense(6, name=f"layer_{number}")(x))
        return nn.Dense(3, name="head")(x)


def test_each_member_takes_the_layers_that_it_has(x64, refused):
    """Depth is tuned, and the weights are those of the deepest."""
    sgd = lambda h: optax.sgd(h["lr"])
    learner = vt.flax_learner(lambda h: Deep(h["layers"]), optimizer=sgd, loss=xent)
    space = {"lr": vt.Float(0.05, 0.1), "layers": vt.Categorical([1, 2])}
    weights = jax.jit(Deep(2).init)(jax.random.key(7), DATA.arrays["x"])["params"]
    below = {name: weights[name] for name in ("layer_0", "layer_1")}
    grid = {"search": vt.Grid({"lr": 1}), "epochs": 1}
    trained = tune(learner, space, init_from=weights, **grid)
    for member in trained:
        layers = member.hparams["layers"]
        train = plain_loop(lambda h, layers=layers: Deep(layers), sgd)
        start = {name: weights[name] for name in ["head", *list(below)[:layers]]}
        given = {"seed": 0, "id": member.index, "steps": 4, "batch_size": 16}
        variables, *_ = train({"lr": member.hparams["lr"]}, DATA, **given, start=start)
        assert largest_difference(variables, member.variables) < 1e-9
    assert trained.rerun(0).score == pytest.approx(trained[0].score, abs=1e-12)
    with refused(ValueError, r"model has no 'layer_9' \(known here: 'head', 'layer_0'\); leave"):
        tune(learner, space, init_from=weights | {"layer_9": below["layer_0"]}, **grid)
    with refused(ValueError, r"layer_1/bias, layer_1/kernel are in the model of some members"):
        tune(learner, space, init_from=below, frozen="layer", **grid)


def test_of_several_trainings_one_gives_the_weights():
    learner = LEARNER
    first = tune(learner, seeds=2)
    with pytest.raises(ValueError, match=r"a member of 1 folds and 2 seeds; .* a\[fold, seed\]"):
        tune(learner, init_from=first.best)
    weights = jax.tree.map(lambda a: a[0, 1], first.best.variables)
    second = tune(learner, {"lr": vt.Float(1e-8, 1e-7)}, init_from=weights)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    jax.tree.map(close, second.best.variables, weights)


def test_a_learner_that_cannot_load_says_so():
    with pytest.raises(ValueError, match=r"init_from: this learner has no load function"):
        vt.tune(quadratic(), LR, search=vt.Halton(2), steps=1, init_from={"x": np.ones(1)})
