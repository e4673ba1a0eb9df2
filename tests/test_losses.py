"""What a loss may return, and what is said of one that trains nothing."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, blobs, mlp_learner

import vtune as vt
from vtune.learner.objective import loss_totals
from vtune.learner.parts import Parts
from vtune.results.ensemble import from_shares, to_shares

DATA = blobs()


class Scale(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * self.param("w", nn.initializers.ones, ())


def correct(outputs, batch, h):
    return jnp.argmax(outputs, -1) == batch["y"]


def overwriting(outputs, batch, h):
    batch["y"] = 1 - batch["y"]
    return (outputs - batch["y"]) ** 2


def unweighted(outputs, batch, h):
    return outputs, batch["k"]


def test_a_batch_without_weights_has_loss_0_and_no_gradient():
    """A loss that writes into its batch changes nothing for metrics: another case of the sweep."""
    ones = np.ones(4)
    data = vt.from_splits(
        {"x": ones, "y": 0 * ones, "k": np.array([1.0, 0, 0, 0])},
        {"x": ones, "y": 0 * ones, "k": np.array([0, 0, 1.0, 0])},
    )
    learner = vt.flax_learner(
        Scale(),
        optimizer=lambda h: optax.sgd(h["lr"]),
        loss=lambda outputs, batch, h: h["loss"](outputs, batch, h),
        metrics={"label": vt.metrics.mean(lambda outputs, batch: batch["y"])},
    )
    space = {"lr": vt.Ordinal([0.1, 0.2]), "loss": vt.Categorical([unweighted, overwriting])}
    sweep = vt.tune(
        learner, space, data, search=vt.Grid(), epochs=1, batch_size=2, eval_batch_size=2
    )
    assert set(sweep.table()["status"]) == {"completed"}
    assert (sweep.history["label"] == 0).all()
    for member in sweep:
        if member.hparams["loss"] is unweighted:
            w = float(member.variables["params"]["w"])
            assert w == pytest.approx(1 - member.hparams["lr"])
            assert member.history["loss"][-1] == pytest.approx(w)
    with pytest.raises(ValueError, match="loss gives all 4 rows the weight 0, so nothing would"):
        sweep.evaluate({"x": ones, "y": ones, "k": 0 * ones})


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"loss": lambda o, b, h: None}, "loss returned None"),
        ({"loss": None, "batch_loss": lambda o, b, h: None}, "batch_loss returned None"),
        ({"loss": correct}, "loss returned values of type bool, which have no gradient"),
        ({"loss": lambda o, b, h: 1 * correct(o, b, h)}, "loss returned values of type int32"),
        ({"loss": lambda o, b, h: 1.0 * correct(o, b, h)}, "loss has no gradient by the model's"),
        ({"loss": lambda o, b, h: jnp.ones(len(o))}, "loss has no gradient by the model's"),
        (
            {"loss": None, "batch_loss": lambda o, b, h: jnp.mean(correct(o, b, h))},
            "batch_loss has no gradient by the model's",
        ),
    ],
)
def test_a_loss_that_trains_nothing_is_named(parts, says, refused):
    with refused((TypeError, UserWarning), says):
        vt.tune(mlp_learner(**parts), LR, DATA, search=vt.Random(2), epochs=1, batch_size=16)


HALF = jnp.asarray(np.random.default_rng(0).normal(size=(1003, 4)) * 3, jnp.bfloat16)


def whole(outputs, batch, h):
    return outputs[0, 0]


def test_a_loss_of_a_batch_in_half_precision_counts_all_its_rows():
    """bfloat16 has no 1,003."""
    batch, weight = {"y": jnp.zeros(1003)}, jnp.ones(1003)
    total, rows = loss_totals(Parts(None, batch_loss=whole), HALF, batch, None, weight)
    assert rows == 1003
    assert total == pytest.approx(1003 * float(HALF[0, 0]), rel=1e-6)


def test_the_losses_of_mixed_labels_in_half_precision_are_mixed_in_single():
    rng = np.random.default_rng(1)
    share, batch = rng.uniform(size=1003), {"y": HALF[:, 1], "mix/y": HALF[:, 2]}
    loss = vt.augment.mixed(lambda outputs, batch, h: jnp.abs(batch["y"]))
    got = loss(HALF, {**batch, "mix": jnp.asarray(share, jnp.float32)}, None)
    own, other = (np.abs(np.asarray(label, np.float64)) for label in batch.values())
    np.testing.assert_allclose(got, share * own + (1 - share) * other, rtol=1e-5)


def test_a_penalty_of_weights_in_half_precision_is_summed_in_single():
    weights = np.asarray(HALF, np.float64)
    for penalty, expected in (("l1", np.abs(weights).sum()), ("l2", np.square(weights).sum())):
        got = getattr(vt.penalties, penalty)({"kernel": HALF}, 0.1)
        assert got == pytest.approx(0.1 * expected, rel=1e-5), penalty


@pytest.mark.parametrize("combine", ["outputs", "probabilities", "single"])
def test_an_ensemble_averages_outputs_of_half_precision_in_single(combine):
    outputs = HALF[:, 0] if combine == "single" else HALF
    got = from_shares(combine, (to_shares(combine, outputs) + to_shares(combine, -outputs)) / 2)
    wide = outputs.astype(jnp.float32)
    same = from_shares(combine, (to_shares(combine, wide) + to_shares(combine, -wide)) / 2)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, same)
