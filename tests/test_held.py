"""Hyperparameters that a state holds: the current values count, or `tune` says that they cannot."""

import dataclasses
import types
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vtune as vt
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare
from vtune.xla.sources import sources


class Line(nn.Module):
    """x w, whose gradient by w is 1 where x is; with a constant, plus a variable made of it."""

    constant: object = None

    @nn.compact
    def __call__(self, x):
        w = self.param("w", nn.initializers.ones, ())
        if self.constant is None:
            return x * w
        made = self.variable("constants", "c", lambda: jnp.asarray(self.constant))
        return x * w + made.value


def injected(h):
    return optax.inject_hyperparams(optax.sgd)(learning_rate=h["lr"])


def scheduled(h):
    falling = lambda step: h["lr"] * jnp.ones(())
    return optax.inject_hyperparams(optax.sgd)(learning_rate=falling, momentum=0 * h["lr"])


same = lambda value: lambda params: jax.tree.map(lambda _: value, params)
OPTIMIZERS = {  # and the part of the steps that they take
    "plain": (lambda h: optax.sgd(h["lr"]), 1),
    "injected": (injected, 1),
    "chained": (lambda h: optax.chain(optax.clip(9.0), injected(h)), 1),
    "by label": (lambda h: optax.multi_transform({"all": injected(h)}, same("all")), 1),
    "masked": (lambda h: optax.masked(injected(h), same(True)), 1),
    "accumulated": (lambda h: optax.MultiSteps(injected(h), every_k_schedule=2), 2),
    "scheduled": (scheduled, 1),
    "variable": (lambda h: optax.sgd(h["lr"]), 1),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quarter(vt.refine.Keep):
    """A refiner that divides every rate by four."""

    idle = False

    def refine(self, key, round, space, hparams, score, memory):
        parents = jnp.arange(score.shape[0], dtype=jnp.int32)
        return vt.Refinement(parents, {"lr": hparams["lr"] / 4}), memory


def test_a_rate_that_is_kept_in_the_state_is_the_current_one():
    learner = vt.flax_learner(
        lambda h: Line(h["lr"] if h["kind"] == "variable" else None),
        optimizer=lambda h: OPTIMIZERS[h["kind"]][0](h),
        loss=lambda outputs, batch, h: outputs,
    )
    data = vt.from_splits({"x": np.ones(8)}, {"x": np.ones(2)})
    sweep = vt.tune(
        learner,
        {"lr": vt.Float(0.01, 0.4), "kind": vt.Categorical(list(OPTIMIZERS))},
        data,
        search=vt.Given([{"lr": 0.16, "kind": kind} for kind in OPTIMIZERS]),
        refiner=Quarter(),
        epochs=2,
        batch_size=4,
    )
    for member in sweep:
        kind = member.hparams["kind"]
        expected = 1 - np.array([2 * 0.16, 2 * 0.16 + 2 * 0.04]) / OPTIMIZERS[kind][1]
        if kind == "variable":
            expected += [0.16, 0.04]
        np.testing.assert_allclose(member.history["loss"], expected, rtol=1e-5, err_msg=kind)


def learner_of(init, step):
    return vt.Learner(
        init=init,
        step=step,
        measure=lambda key, h, state, batch, weight: state["x"] ** 2,
        score=lambda total: {"loss": total},
    )


def noisy(key, x, rate):
    return x - rate * jax.random.normal(key) * x


LEARNERS = {
    "drawn with it": learner_of(
        lambda key, h, batch: {"x": jnp.ones(()), "b": h["a"] * jax.random.normal(key)},
        lambda key, h, s, batch: ({**s, "x": noisy(key, s["x"], s["b"] * h["a"])}, {}),
    ),
    "goes on alone": learner_of(
        lambda key, h, batch: {"x": jnp.ones(()), "a": h["a"]},
        lambda key, h, s, batch: ({"x": noisy(key, s["x"], s["a"]), "a": 0.9 * s["a"]}, {}),
    ),
    "first weights": learner_of(
        lambda key, h, batch: {"x": h["a"] * jax.random.normal(key)},
        lambda key, h, s, batch: ({"x": noisy(key, s["x"], 0.1)}, {}),
    ),
    "kept and read": learner_of(
        lambda key, h, batch: {"x": jnp.ones(()), "a": h["a"]},
        lambda key, h, s, batch: ({**s, "x": noisy(key, s["x"], s["a"])}, {}),
    ),
}
SAYS = {
    "drawn with it": (ValueError, r"'a' between rounds, but state\['b'\] is drawn with it in init"),
    "goes on alone": (ValueError, r"'a' between rounds, but it is read in init alone.*'a'\]"),
    "first weights": (UserWarning, r"'a' between rounds, but it sets the first weights only"),
}
PLAIN = [None, vt.Halving(min_rounds=2)]


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("refiner", [vt.PBT(), *PLAIN], ids=["pbt", "search", "halving"])
def test_a_hyperparameter_that_no_step_can_follow_is_named(name, refiner):
    """Before anything is compiled, and only where it changes between rounds."""
    options = {"search": vt.Halton(8), "refiner": refiner, "steps": 8, "rounds": 8}
    given = TuneArguments(learner=LEARNERS[name], space={"a": vt.Float(0.1, 1.0)}, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if refiner in PLAIN or name not in SAYS:
            prepare(given)
            return
        error, says = SAYS[name]
        with pytest.raises(error, match=f"PBT changes {says}"):
            prepare(given)


def test_a_schedule_that_no_step_can_follow_is_named():
    with pytest.raises(ValueError, match="the schedule changes 'a' between rounds"):
        vt.replay(LEARNERS["drawn with it"], None, {"a": [0.1, 0.4]}, steps=2)


def traced(x, y, n):
    kept = jax.lax.cond(n > 0, lambda x, y: (x, y), lambda x, y: (x, -y), x, y)
    looped = jax.lax.fori_loop(0, n, lambda i, c: (c[0], c[1] + c[0]), (x, y))
    scanned, rows = jax.lax.scan(lambda c, _: (c, c), x, None, length=2)
    chosen = jnp.where(n > 0, x, jnp.where(n > 1, x, y))
    return *kept, *looped, scanned, rows, chosen, jax.jit(lambda x, y: (y, x + 1))(x, y)


def newer(equation):
    """A scan with the parameters of jax 0.11, which counts its inputs in trees; as it is there."""
    params = dict(equation.params)
    if equation.primitive.name == "scan" and "num_consts" in params:
        consts, carried = (range(params.pop(name)) for name in ("num_consts", "num_carry"))
        params["ft_in"] = types.SimpleNamespace(unpack=lambda: (consts, carried, ()))
    return equation.replace(params=params)


@pytest.mark.parametrize("form", [lambda equation: equation, newer], ids=["own", "newer"])
def test_sources_of_a_traced_function(form):
    jaxpr = jax.make_jaxpr(traced)(1.0, 2.0, 3).jaxpr
    found = sources(jaxpr.replace(eqns=[form(equation) for equation in jaxpr.eqns]))
    assert [(sorted(source.inputs), source.same) for source in found] == [
        ([0], 0),
        ([1, 2], None),
        ([0], 0),
        ([0, 1, 2], None),
        ([0], 0),
        ([0], None),
        ([0, 1, 2], None),
        ([1], 1),
        ([0], None),
    ]
