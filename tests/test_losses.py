"""What a loss may return, and what is said of one that trains nothing."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import LR, blobs, mlp_learner

import vtune as vt

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
