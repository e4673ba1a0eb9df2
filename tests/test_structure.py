"""Structural hyperparameters in any mix: cohorts share what they can, members are what they are
alone."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, blobs, mlp_learner
from solo import largest_difference, plain_loop, xent

import vtune as vt
from vtune.engine.cohort_groups import batch_groups, groups
from vtune.runtime.compile import build

pytestmark = pytest.mark.slow

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}
OPTIMIZERS = {
    "sgd": lambda h: optax.sgd(h["lr"], momentum=0.9),
    "adam": lambda h: optax.adam(h["lr"]),
    "schedule_free": lambda h: optax.contrib.schedule_free_sgd(h["lr"], b1=0.9),
}


class Net(nn.Module):
    width: int = 4
    depth: int = 1
    activation: str = "relu"

    @nn.compact
    def __call__(self, x):
        for _ in range(self.depth):
            x = ACTIVATIONS[self.activation](nn.Dense(self.width, param_dtype=x.dtype)(x))
        return nn.Dense(3, param_dtype=x.dtype)(x)


def model(h):
    return Net(h["width"], h["depth"], h["activation"])


def optimizer(h):
    return OPTIMIZERS[h["optimizer"]](h)


def squared(logits, batch):
    return jnp.sum(jnp.square(logits - jax.nn.one_hot(batch["y"], 3)), axis=-1)


LOSSES = {"cross-entropy": lambda o, b: xent(o, b, None), "squared": squared}


LEARNER = vt.flax_learner(
    model,
    optimizer=optimizer,
    loss=lambda o, b, h: LOSSES[h["loss"]](o, b),
    metrics={"accuracy": vt.metrics.accuracy},
)


SPACE = {
    "lr": vt.Float(1e-3, 1e-1, log=True),
    "width": vt.Categorical([4, 6]),
    "depth": vt.Categorical([1, 2]),
    "activation": vt.Categorical(["relu", "tanh"]),
    "optimizer": vt.Categorical(["sgd", "adam", "schedule_free"]),
    "batch_size": vt.Categorical([8, 12]),
    "loss": "cross-entropy",
}


FEW = {**SPACE, "width": 6, "depth": 1, "activation": "relu", "optimizer": "adam", "batch_size": 8}


def tune(space, data, n, **options):
    return vt.tune(
        LEARNER,
        space,
        data,
        search=vt.Halton(n),
        batch_size=lambda h: h["batch_size"],
        **{"epochs": 2, **options},
    )


def test_members_of_any_structure_equal_solo_runs(x64):
    """Several structural choices in one program; those of another batch size see the same
    epochs."""
    data = blobs(rows=100)
    space = {**SPACE, "width": 4, "optimizer": "sgd"}
    sweep = tune(space, data, 16)
    assert len(sweep.trained.plan.cohorts) == 8
    for index in (0, 3, 5, 6, 9, 10):
        member = sweep[index]
        h = member.hparams
        static = {k: h[k] for k in ("width", "depth", "activation", "optimizer")}
        train = plain_loop(
            lambda h, static=static: model(static),
            lambda h, static=static: optimizer({**h, **static}),
        )
        steps = 2 * (len(data.train) // h["batch_size"])
        variables, _, metrics = train(
            {"lr": h["lr"]},
            data,
            seed=0,
            id=index,
            steps=steps,
            batch_size=h["batch_size"],
        )
        assert largest_difference(variables, member.variables) < 1e-9, h
        assert metrics["loss"] == pytest.approx(member.score, abs=1e-9)


def test_a_cohort_is_the_same_beside_others_and_alone():
    """In any layout."""
    space = {**SPACE, "depth": 1, "activation": "relu", "width": 5}
    space["optimizer"] = vt.Categorical(["adam", "schedule_free"])
    mixed, *others = (
        tune(space, blobs(), 12, layout=layout)
        for layout in (None, "vmap", vt.Layout(chunk=1, devices=1))
    )
    for index in (0, 7):  # of another optimizer and batch size
        again = mixed.rerun(index)  # a program of its own
        for member in (mixed[index], *(sweep[index] for sweep in others)):
            np.testing.assert_allclose(again.score, member.score, rtol=1e-4)
            close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
            jax.tree.map(close, again.variables, member.variables)


def test_the_loss_is_structural_too():
    data = blobs()
    space = {**FEW, "loss": vt.Categorical(list(LOSSES))}
    sweep = tune(space, data, 16, epochs=6)
    best = {h["loss"]: 0.0 for h in (m.hparams for m in sweep)}
    for member in sweep:
        name = member.hparams["loss"]
        best[name] = max(best[name], float(member.history["accuracy"][-1]))
    assert set(best) == set(LOSSES)
    assert min(best.values()) > 0.8


def test_cohorts_share_shuffles_gathers_and_draws():
    """What is the same for several cohorts is compiled once: the shuffle of a batch size, the
    weights' draws of a shape."""
    count = lambda text, what: len(re.findall(rf"\b{what}\(", text))
    text = lambda sweep: build(sweep.trained.plan).call.as_text()
    single = text(tune({**FEW, "optimizer": "sgd"}, blobs(), 4))
    space = {**SPACE, "depth": 1, "activation": "relu"}
    space["optimizer"] = vt.Categorical(["sgd", "schedule_free"])
    mixed = tune(space, blobs(), 8)
    found = groups(mixed.trained.plan)
    assert len(found) == 8
    assert sorted(map(len, batch_groups(found))) == [4, 4]
    assert count(text(mixed), "sort") == 2 * count(single, "sort")
    drawn = lambda text: len(re.findall(r"erf_inv", text))
    assert drawn(single) > 0
    # two widths; schedule_free carries the drawn weights twice and still shares their draw
    assert drawn(text(mixed)) <= 2 * drawn(single)


@pytest.mark.parametrize("where", ["static", "traced"])
def test_draws_that_differ_are_not_taken_for_the_same(where):
    def init(key, h, batch):
        scale = h["scale"] if where == "static" else h["scale"] * h["lr"]
        return {
            "drawn": jax.random.normal(key, (3,)) * scale,
            "plain": jnp.full(h["n"], h["lr"]),
        }

    drawing = vt.Learner(
        init=init,
        step=lambda key, h, x, batch: (x, {}),
        measure=lambda key, h, x, batch, weight: jnp.sum(x["drawn"]),
        score=lambda total: {"loss": total},
    )
    space = {
        "lr": vt.Float(0.1, 1.0),
        "scale": vt.Categorical([1.0, 2.0]),
        "n": vt.Categorical([1, 2]),
    }
    for member in vt.tune(drawing, space, search=vt.Halton(8), steps=1):
        h = member.hparams
        scale = h["scale"] * (1.0 if where == "static" else h["lr"])
        drawn = jax.random.normal(vt.member_key(0, member.index), (3,)) * scale
        np.testing.assert_allclose(member.state["drawn"], drawn, rtol=1e-6)
        np.testing.assert_allclose(member.state["plain"], h["lr"], rtol=1e-6)


def test_draws_by_other_rules_are_not_taken_for_the_same():
    def draw(key, newer):
        with jax.threefry_partitionable(newer):
            return jax.random.normal(key, (3,))

    drawing = vt.Learner(
        init=lambda key, h, batch: (draw(key, h["newer"]), h["lr"]),
        step=lambda key, h, x, batch: (x, {}),
        measure=lambda key, h, x, batch, weight: jnp.sum(x[0]),
        score=lambda total: {"loss": total},
    )
    space = {"newer": vt.Categorical([True, False]), "lr": vt.Float(0.1, 1.0)}
    sweep = vt.tune(drawing, space, search=vt.Halton(4), steps=1)
    assert {member.hparams["newer"] for member in sweep} == {True, False}
    for member in sweep:
        drawn = draw(vt.member_key(0, member.index), member.hparams["newer"])
        np.testing.assert_allclose(member.state[0], drawn, rtol=1e-6)


def test_one_compilation_and_equal_epochs(compilations):
    data = blobs(rows=100)
    space = {**FEW, "batch_size": vt.Categorical([8, 12]), "width": vt.Categorical([4, 6])}
    with compilations() as first:
        sweep = tune(space, data, 8)
    with compilations() as second:
        tune(space, data, 8, seed=1)
    assert (first.count, second.count) == (1, 0)
    steps = {c.batch_size: c.steps for c in sweep.trained.plan.cohorts}
    assert steps == {8: 2 * (75 // 8), 12: 2 * (75 // 12)}


def test_many_cohorts_are_announced_with_the_time_they_take(caplog):
    few = {**FEW, "width": vt.Categorical(list(range(2, 18)))}
    many = {**FEW, "width": vt.Categorical(list(range(2, 19)))}
    refused = {"metric": "accuracy", "mode": "max", "layout": vt.Layout(memory=1)}
    for space, count, says in ((few, 16, False), (many, 17, True)):
        with pytest.raises(MemoryError):  # said before anything is compiled
            tune(space, blobs(rows=80), count, **refused)
        match = re.search(
            rf"vtune: {count} structural combinations .* about (\d+) s to compile", caplog.text
        )
        assert bool(match) == says
    assert int(match[1]) > 1


@pytest.mark.parametrize(
    ("space", "error", "says"),
    [
        ({**SPACE, "batch_size": vt.Categorical([8, 1000])}, ValueError, r"batch_size=1000 is abo"),
        ({**SPACE, "batch_size": vt.Categorical([8, 0.5])}, TypeError, r"batch_size=0.5 must be"),
        ({**SPACE, "batch_size": vt.Int(8, 12)}, ValueError, r"'batch_size', which is not struct"),
        ({**SPACE, "width": vt.Int(4, 6)}, TypeError, r"hyperparameter 'width' is traced"),
    ],
)
def test_bad_structure_is_named(space, error, says, refused):
    with refused(error, says):
        tune(space, blobs(), 96)


def test_learners_that_share_functions_each_know_what_was_read():
    """Or the second would be told that nothing is."""
    one = mlp_learner()
    other = one._replace(score=lambda totals: one.score(totals))
    for learner in (one, other):  # a warning would be an error
        sweep = vt.tune(learner, LR, blobs(), search=vt.Halton(2), epochs=1, batch_size=16)
        assert len(sweep) == 2
