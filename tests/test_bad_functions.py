"""What a user's functions return, or fail on, is named before anything is compiled."""

import itertools
import random
import sys
import time
import uuid

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from problems import LR, MLP, blobs, mlp_learner, quadratic
from solo import xent

import vtune as vt
from vtune.learner.chance import suspects
from vtune.returned import described
from vtune.runtime import check_repeats
from vtune.runtime.equations import equations
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare

DATA = blobs()
CHOSEN = {**LR, "width": vt.Categorical([8, -1])}


def tune(learner, space=LR, data=DATA, **options):
    options = {"search": vt.Random(2), "epochs": 1, "batch_size": 16, **options}
    return vt.tune(learner, space, data, **options)


def own(**functions):
    """A learner of one's own, on no data."""
    options = {"data": None, "epochs": None, "batch_size": 32, "steps": 3}
    return tune(quadratic()._replace(**functions), **options)


def linen(**parts):
    return tune(mlp_learner(**parts))


def loss(returned):
    return linen(loss=lambda o, b, h: returned(o, b))


def measured(measure, score=lambda totals: totals):
    return linen(metrics={"m": vt.metrics.Metric(measure, score)})


def scored(score):
    return measured(lambda o, b, w: o.sum(), score)


def transformed(update, state=()):
    """An optimizer of one's own."""
    made = optax.GradientTransformation(lambda params: state, update)
    return linen(optimizer=lambda h: made)


class Through(nn.Module):
    """A dense layer, and what a function makes of its outputs."""

    function: object
    width: object = 3

    @nn.compact
    def __call__(self, x):
        return self.function(nn.Dense(self.width)(x))


class NnxThrough(nnx.Module):
    def __init__(self, function, width, rngs):
        self.function = function
        self.layer = nnx.Linear(6, width, rngs=rngs)

    def __call__(self, x):
        return self.function(self.layer(x))


class Empty(nn.Module):
    def __call__(self, x):
        return x[:, :3]


def modelled(model, space=LR, **parts):
    parts = {"optimizer": lambda h: optax.sgd(h["lr"]), "loss": xent, **parts}
    return tune(vt.flax_learner(model, **parts), space)


def nnx_modelled(model, space=LR, **parts):
    parts = {"optimizer": lambda h: optax.sgd(h["lr"]), "loss": xent, **parts}
    return tune(vt.nnx_learner(model, **parts), space)


def output(function):
    return modelled(Through(function))


def applied(apply):
    return modelled(MLP(), apply=apply)


def scripted(**functions):
    """A script with a TrainState."""
    net = nn.Dense(3)

    def create(key, h, batch):
        params = net.init(key, batch["x"])["params"]
        return TrainState.create(apply_fn=net.apply, params=params, tx=optax.sgd(h["lr"]))

    def measure(state, batch):
        return {"loss": xent(net.apply({"params": state.params}, batch["x"]), batch, None)}

    script = {"create": create, "train_step": lambda state, batch: state, "measure": measure}
    return tune(vt.train_state_learner(**{**script, **functions}))


def labelled(y, **parts):
    data = vt.holdout({"x": np.zeros((len(y), 6)), "y": np.asarray(y)}, seed=0)
    return tune(mlp_learner(metrics={}, **parts), data=data)


def column_of_a_metric():
    """A metric that broadcasts [rows] against [rows, 1], beside a loss that does not."""
    parts = {
        "loss": lambda o, b, h: jnp.square(o - b["y"])[:, 0],
        "metrics": {"m": vt.metrics.mean(lambda o, b: jnp.square(o[None, :, 0] - b["y"]))},
        "optimizer": lambda h: optax.sgd(h["lr"]),
    }
    data = vt.holdout({"x": np.zeros((40, 6)), "y": np.zeros((40, 1))}, seed=0)
    return tune(vt.flax_learner(MLP(classes=1), **parts), data=data)


PER_ROW = vt.metrics.PerRow
HOT = np.eye(3)[np.arange(40) % 3]
CASES = {
    # losses
    "loss_dict": (
        lambda: loss(lambda o, b: {"a": o}),
        r"loss returned a dict with 'a'; return one",
    ),
    "loss_text": (lambda: loss(lambda o, b: "loss"), r"loss returned the text 'loss'; return one"),
    "loss_function": (lambda: loss(lambda o, b: xent), r"loss returned the function xent"),
    "loss_three": (lambda: loss(lambda o, b: (o, o, o)), r"loss returned a tuple of 3; return one"),
    "loss_none": (lambda: loss(lambda o, b: ()), r"loss returned a tuple of 0"),
    "loss_complex": (lambda: loss(lambda o, b: 1j * o), r"type complex64, which have no gradient"),
    "loss_nothing": (lambda: loss(lambda o, b: o[:, :0]), r"loss returned shape \[16, 0\]"),
    "loss_weights_dict": (lambda: loss(lambda o, b: (o, {})), r"a dict with nothing; return one"),
    "loss_weights_complex": (
        lambda: loss(lambda o, b: (o, 1j * o)),
        r"complex64\[16,3\]; .*, real",
    ),
    "loss_name": (
        lambda: loss(lambda o, b: b["labels"]),
        r"loss found no 'labels'; vtune called loss with .* batch {'x': float32\[16,6\], 'y': int",
    ),
    "loss_number": (
        lambda: loss(lambda o, b: float(o.mean())),
        r"are traced, .* jnp.where for `if`",
    ),
    "loss_array": (lambda: loss(lambda o, b: np.asarray(o)), r"are traced, .* write jnp for np"),
    "batch_loss_pair": (
        lambda: linen(loss=None, batch_loss=lambda o, b, h: (o.mean(), {})),
        r"batch_loss returned a tuple of 2; return one value for the whole batch",
    ),
    "penalty_none": (lambda: linen(penalty=lambda p, h: None), r"penalty returned None; end it"),
    "penalty_tree": (lambda: linen(penalty=lambda p, h: p), r"penalty returned a dict with 'Dense"),
    "penalty_complex": (lambda: linen(penalty=lambda p, h: 1j), r"penalty returned 1j; return one"),
    # augmentation
    "augment_none": (
        lambda: linen(augment=lambda k, b, h: {**b, "x": None}),
        r"augment returned None as 'x'; return the whole batch",
    ),
    "augment_text": (
        lambda: linen(augment=lambda k, b, h: {**b, "x": "a"}),
        r"augment returned the text 'a' as 'x', which is no array",
    ),
    "augment_rows": (
        lambda: linen(augment=lambda k, b, h: {**b, "x": b["x"][:3]}),
        r"shape \[3, 3\] for a batch of 16 rows(.|\n)*with batch {'x': float32\[3,6\], 'y'",
    ),
    # optimizers
    "optimizer_none": (lambda: linen(optimizer=lambda h: None), r"optimizer returned None, not an"),
    "optimizer_uncalled": (
        lambda: linen(optimizer=lambda h: optax.adam),
        r"the function adam, not",
    ),
    "optimizer_class": (
        lambda: linen(optimizer=lambda h: optax.MultiSteps),
        r"optimizer returned the class MultiSteps, not an",
    ),
    "optimizer_several": (
        lambda: linen(optimizer=lambda h: [optax.clip(1.0), optax.sgd(0.1)]),
        r"optimizer returned a list of 2, not an .* optax.chain\(",
    ),
    "optimizer_text": (
        lambda: linen(optimizer=lambda h: optax.sgd("0.1")),
        r"made with the text '' in the place of a number",
    ),
    "optimizer_text_kept": (
        lambda: linen(optimizer=lambda h: optax.adam(h["lr"], b1="0.9")),
        r"made with the text '0.9' in the place of a number",
    ),
    "optimizer_complex": (
        lambda: linen(optimizer=lambda h: optax.sgd(0.1j)),
        r"update returned complex64\[8\] for the weights \['Dense_0'\]\['bias'\]",
    ),
    "update_fails": (
        lambda: linen(optimizer=lambda h: optax.sgd(jnp.ones(3))),
        r"called the optimizer's update with h {'lr': .*, params {'Dense_0'",
    ),
    "update_none": (
        lambda: transformed(lambda g, s, p=None: None),
        r"update returned None; return",
    ),
    "update_alone": (lambda: transformed(lambda g, s, p=None: g), r"a dict with 'Dense_0', 'Dense"),
    "update_summed": (
        lambda: transformed(lambda g, s, p=None: (jax.tree.map(jnp.sum, g), s)),
        r"update returned float32\[\] for the weights \['Dense_0'\]\['bias'\], float32\[8\]",
    ),
    "update_of_a_part": (
        lambda: transformed(lambda g, s, p=None: ({"a": 0}, s)),
        r"update returned updates of the structure",
    ),
    "update_state": (
        lambda: transformed(lambda g, s, p=None: (g, (1.0,))),
        r"update changed the structure of the state",
    ),
    "optimizer_state": (
        lambda: transformed(lambda g, s, p=None: (g, s), "state"),
        r"the optimizer's init returned the text 'state'",
    ),
    "eval_params_none": (
        lambda: linen(eval_params=lambda s, p: None),
        r"eval_params returned None; end it",
    ),
    "eval_params_part": (
        lambda: linen(eval_params=lambda s, p: {"a": jnp.ones(3)}),
        r"eval_params returned a dict with 'a', whose structure and shapes",
    ),
    # metrics
    "mean_none": (
        lambda: linen(metrics={"m": vt.metrics.mean(lambda o, b: None)}),
        r"metrics.mean: the function returned None; end it with `return`",
    ),
    "mean_complex": (
        lambda: linen(metrics={"m": vt.metrics.mean(lambda o, b: 1j * o)}),
        r"metrics.mean: the function returned complex64\[24,3\]; return a real number",
    ),
    "mean_pairs": (
        column_of_a_metric,
        r"a value for every pair of rows, \[8, 8\] for a batch of 8",
    ),
    "mean_arguments": (
        lambda: vt.metrics.mean(lambda o: o),
        r"metrics.mean: the function must take the arguments \(outputs, batch\)",
    ),
    "metric_arguments": (
        lambda: measured(lambda o, b: o),
        r"Metric: measure must take the arguments \(outputs, batch, weight\)",
    ),
    "metric_name": (
        lambda: linen(metrics={3: vt.metrics.accuracy}),
        r"metrics are named by strings, got the name 3",
    ),
    "metric_class": (
        lambda: linen(metrics={"m": vt.metrics.Metric}),
        r"metrics\['m'\] must be a metric, got <class",
    ),
    "measure_none": (
        lambda: measured(lambda o, b, w: None, lambda totals: 1.0),
        r"metrics\['m'\].measure returned None; end it",
    ),
    "measure_text": (
        lambda: measured(lambda o, b, w: "a"),
        r"metrics\['m'\].measure returned the text 'a', which is no array",
    ),
    "measure_rows": (
        lambda: measured(lambda o, b, w: PER_ROW(o[:3])),
        r"returned float32\[3,3\] inside vt.metrics.PerRow for a batch of 24 rows",
    ),
    "score_none": (lambda: scored(lambda t: None), r"metrics\['m'\].score returned None; end it"),
    "score_dict": (lambda: scored(lambda t: {"a": t}), r"metrics\['m'\].score returned a dict"),
    "score_complex": (lambda: scored(lambda t: 1j * t), r"score returned complex64\[\]; return a"),
    "score_fails": (lambda: scored(lambda t: t["a"]), r"metrics\['m'\].score with totals float32"),
    "train_score": (
        lambda: linen(train_metrics={"m": vt.metrics.Metric(lambda o, b, w: w, lambda t: "a")}),
        r"train_metrics\['m'\].score returned the text 'a'",
    ),
    "metric_none": (
        lambda: tune(mlp_learner(), metric=lambda m: None, mode="max"),
        r"metric returned None; end it with `return` and one real number",
    ),
    "metric_complex": (
        lambda: tune(mlp_learner(), metric=lambda m: 1j * m["loss"], mode="max"),
        r"metric returned complex64\[\]; return one real number",
    ),
    "metric_function_arguments": (
        lambda: tune(mlp_learner(), metric=lambda: 1, mode="max"),
        r"metric must take the arguments \(metrics\)",
    ),
    # learners of one's own
    "init_none": (lambda: own(init=lambda k, h, b: None), r"init returned None; .* \(\) for none"),
    "init_text": (
        lambda: own(init=lambda k, h, b: {"x": jnp.ones(()), "name": "a"}),
        r"the learner's init returned the text 'a' in \['name'\], which is no array",
    ),
    "init_names": (
        lambda: own(init=lambda k, h, b: {"x": jnp.ones(()), 1: jnp.ones(())}),
        r"the learner's init returned a dict with keys of several types",
    ),
    "init_fails": (
        lambda: own(init=lambda k, h, b: b["x"]),
        r"called the learner's init with key .*, h {'lr': float32\[\], .*}, batch None",
    ),
    "init_arguments": (
        lambda: own(init=lambda: 1),
        r"init must take the arguments \(key, h, batch",
    ),
    "step_kind": (lambda: own(step=None), r"step must be a function of \(key, h, state, batch\)"),
    "step_none": (
        lambda: own(step=lambda k, h, s, b: None),
        r"must return \(state, metrics\), got N",
    ),
    "step_text": (lambda: own(step=lambda k, h, s, b: "ab"), r"metrics\), got the text 'ab'"),
    "step_state": (lambda: own(step=lambda k, h, s, b: (None, {})), r"returned None as the state"),
    "step_swapped": (
        lambda: own(step=lambda k, h, s, b: ({}, s)),
        r"returned float32\[\] as metri",
    ),
    "step_grows": (
        lambda: own(init=lambda k, h, b: [jnp.ones(())], step=lambda k, h, s, b: (s + s, {})),
        r"step changed the structure of the state, .*\[\*\]\) to .*\[\*, \*\]",
    ),
    "step_type": (
        lambda: own(init=lambda k, h, b: 1, step=lambda k, h, s, b: (s * h["lr"], {})),
        r"the learner's step changed state from int32\[\] to float32\[\]; return the shapes",
    ),
    "step_metrics": (lambda: own(step=lambda k, h, s, b: (s, None)), r"step returned None as metr"),
    "step_metric": (
        lambda: own(step=lambda k, h, s, b: (s, {"a": None})),
        r"step returned None as metric 'a'; return a real number",
    ),
    "step_metric_name": (
        lambda: own(step=lambda k, h, s, b: (s, {1: s})),
        r"returned the name 1; metrics are named by strings",
    ),
    "step_metric_complex": (
        lambda: own(step=lambda k, h, s, b: (s, {"a": 1j * s})),
        r"step returned complex64\[\] as metric 'a'",
    ),
    "totals_none": (
        lambda: own(measure=lambda k, h, s, b, w: None, score=lambda t: {"loss": 1.0}),
        r"the learner's measure returned None; end it with `return` and totals",
    ),
    "totals_text": (
        lambda: own(measure=lambda k, h, s, b, w: {"a": "b"}),
        r"the text 'b' in \['a'",
    ),
    "scores_none": (lambda: own(score=lambda t: None), r"score returned None; return a dict of"),
    "scores_text": (lambda: own(score=lambda t: {"loss": "a"}), r"the text 'a' as metric 'loss'"),
    "scores_complex": (
        lambda: own(score=lambda t: {"loss": 1j * t}),
        r"complex64\[\] as metric 'l",
    ),
    "scores_pair": (
        lambda: own(score=lambda t: {"loss": (t, t)}),
        r"a tuple of 2 as metric 'loss'",
    ),
    "scores_name": (lambda: own(score=lambda t: {1: t, "loss": t}), r"score returned the name 1"),
    "predict_none": (lambda: own(predict=lambda h, s, b: None), r"predict returned None; end it"),
    "predict_arguments": (
        lambda: own(predict=lambda: 1),
        r"predict must take the arguments \(h, s",
    ),
    "variables_fail": (
        lambda: own(variables=lambda s: s["x"]),
        r"called the learner's variables with state float32\[\]",
    ),
    "summarise_text": (
        lambda: own(summarise=lambda sums, steps: {"a": "b"}),
        r"summarise returned the text 'b' as metric 'a'",
    ),
    "modes": (lambda: own(modes={"loss": "min"}), r"modes must be pairs .*, got {'loss': 'min'}"),
    # models
    "model_none": (
        lambda: output(lambda y: None),
        r"the model returned None; end it with `return`",
    ),
    "model_text": (lambda: output(lambda y: {"y": y, "a": "b"}), r"the text 'b' in \['a'\], which"),
    "model_dict": (
        lambda: output(lambda y: {"a": y}),
        r"returns a dict with 'a'; .*outputs\['a'\]",
    ),
    "model_pair": (lambda: output(lambda y: (y, y)), r"returns a tuple of 2; .* outputs\[0\]"),
    "model_one_number": (
        lambda: output(lambda y: y[:, 0]),
        r"one number a row, float32\[16\]; for",
    ),
    "model_uncalled": (
        lambda: modelled(lambda h: MLP),
        r"returned the class MLP, not a flax.linen",
    ),
    "model_width": (
        lambda: modelled(lambda h: Through(nn.relu, h["width"]), CHOSEN),
        r"called the model with .*'width': -1(.|\n)*this happened with 'width': -1",
    ),
    "nnx_none": (
        lambda: nnx_modelled(lambda h, rngs: NnxThrough(lambda y: None, 3, rngs)),
        r"the model returned None; end it with `return`",
    ),
    "nnx_uncalled": (
        lambda: nnx_modelled(lambda h, rngs: NnxThrough),
        r"returned the class NnxThr",
    ),
    "nnx_width": (
        lambda: nnx_modelled(
            lambda h, rngs: NnxThrough(nnx.relu, h["width"], rngs),
            {**LR, "width": 4.0},
        ),
        r"called model with h {.*'width': 4.0}, rngs 'nnx.Rngs\(key\)'",
    ),
    "apply_name": (
        lambda: applied(lambda model, variables, batch, *, train, rngs, mutable: batch["image"]),
        r"apply found no 'image'; vtune called apply with variables {}, batch {'x'",
    ),
    "apply_without_rngs": (
        lambda: applied(
            lambda model, variables, batch, *, train, rngs, mutable: model.apply(
                variables, batch["x"], mutable=mutable
            )
        ),
        r"hand on what apply is given: model.apply\(..., rngs=rngs, mutable=mutable\)",
    ),
    # scripts with a TrainState
    "create_text": (
        lambda: scripted(create=lambda key, h: {"params": jnp.ones(3), "name": "a"}),
        r"create returned the text 'a' in \['name'\], which is no array",
    ),
    "train_step_none": (
        lambda: scripted(train_step=lambda s, b: None),
        r"train_step returned None;",
    ),
    "train_step_swapped": (
        lambda: scripted(train_step=lambda s, b: (jnp.ones(()), s)),
        r"train_step returned a tuple of 2, whose first is float32\[\]; return the state",
    ),
    "train_step_three": (
        lambda: scripted(train_step=lambda s, b: (s, s, {})),
        r"train_step returned a tuple of 3; return the state",
    ),
    "train_step_text": (
        lambda: scripted(train_step=lambda s, b: (s, "a")),
        r"train_step returned the text 'a' in \['loss'\] as metrics|the text 'a' as metrics in",
    ),
    "script_measure_text": (
        lambda: scripted(measure=lambda s, b: {"loss": "a"}),
        r"measure returned the text 'a' as 'loss'; return a real number for every row",
    ),
    "script_predict_none": (
        lambda: scripted(predict=lambda s, b: None),
        r"predict returned None; end it with `return` and outputs",
    ),
    # labels
    "labels_one_hot": (
        lambda: labelled(HOT),
        r"float32\[16,3\], a number for every class; .*argmax",
    ),
    "labels_one_hot_whole": (lambda: labelled(HOT.astype(int)), r"give the classes: y.argmax"),
    "labels_one_column": (
        lambda: labelled(np.zeros((40, 1))),
        r"float32\[16,1\]; give one for a row, .*: y\[..., 0\](.|\n)*y.astype\(\"int32\"\)",
    ),
    "labels_complex": (
        lambda: labelled(1j * np.ones(40)),
        r"\"y\" are complex64; give whole numbers",
    ),
    "labels_for_one_hot": (
        lambda: labelled(
            np.arange(40) % 3,
            loss=lambda o, b, h: optax.softmax_cross_entropy(o, b["y"]),
        ),
        r"softmax_cross_entropy_with_integer_labels\(.*jax.nn.one_hot\(batch\[\"y\"\], 3\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_function_is_named_before_anything_is_compiled(case, refused):
    call, says = CASES[case]
    with refused(Exception, says):
        call()


COUNT = itertools.count()
RNG = np.random.default_rng(0)


def flipping(key, batch, h):
    return {**batch, "x": batch["x"][:, ::-1] if next(COUNT) % 2 else batch["x"]}


CHANGING = {
    "rng_made": (
        lambda: linen(optimizer=lambda h: optax.sgd(h["lr"] * np.random.default_rng().uniform())),
        r"the learner's init gives .* One of your functions reads np.random;",
    ),
    "rng_global": (
        lambda: output(lambda y: y + RNG.uniform()),
        r"the learner's step gives something else .* and .* reads a Generator;",
    ),
    "np_random": (
        lambda: loss(lambda o, b: o * np.random.rand()),  # noqa: NPY002
        r"the learner's step gives .* reads np.random;",
    ),
    "random": (lambda: loss(lambda o, b: o * random.random()), r"step gives .* reads random; what"),
    "clock": (
        lambda: loss(lambda o, b: o * time.perf_counter()),
        r"step gives .* reads time; what",
    ),
    "counter": (lambda: linen(augment=flipping), r"step gives .* reads a count, next; what"),
    "penalty": (
        lambda: linen(penalty=lambda p, h: 1.0 * (uuid.uuid4().int % 10**6)),
        r" reads uuid; what",
    ),
    "metric": (
        lambda: tune(mlp_learner(), metric=lambda m: m["loss"] * random.random(), mode="max"),
        r"the learner's score gives .* reads random; what",
    ),
    "own": (
        lambda: own(step=lambda k, h, s, b: (s - h["lr"] * random.random(), {})),
        r"the learner's step gives .* Draw with jax.random and the key",
    ),
    "nnx": (
        lambda: nnx_modelled(lambda h, rngs: NnxThrough(lambda y: y * random.random(), 3, rngs)),
        r"the learner's step gives .* reads random; what",
    ),
    "script": (
        lambda: scripted(measure=lambda s, b: {"loss": b["x"][:, 0] * random.random()}),
        r"the learner's measure gives .* reads random; what",
    ),
}


@pytest.mark.parametrize("case", CHANGING)
def test_a_function_that_gives_something_else_each_time_is_named(case, refused):
    call, says = CHANGING[case]
    with refused(ValueError, says):
        call()


FILLED = []


def filling(o, b):
    """Does more the first time, as what fills a cache does."""
    more = o * o if not FILLED else o
    FILLED.append(time.time())
    return more


@pytest.mark.parametrize(
    "function",
    [lambda o, b: o * np.random.default_rng(0).uniform(), filling],
    ids=["seeded", "filling"],
)
def test_a_function_that_names_chance_and_gives_the_same_is_taken(function):
    learner = mlp_learner(loss=lambda o, b, h: function(o, b))
    given = {"search": vt.Random(2), "epochs": 1, "batch_size": 16}
    prepare(TuneArguments(learner=learner, space=LR, data=DATA, **given))
    assert suspects(learner) in (["np.random"], ["time"])


class Study:
    """Has its data and its loss in one place."""

    def data(self):
        return np.random.default_rng().uniform(size=9)

    def loss(self, o, b, h):
        return (o - b["y"][:, None]) ** 2


def test_chance_that_is_named_but_not_run_is_traced_once(monkeypatch):
    learner = mlp_learner(loss=Study().loss)
    given = {"search": vt.Random(2), "epochs": 1, "batch_size": 16}
    traced = []
    counted = lambda *args: traced.append(0) or equations(*args)
    monkeypatch.setattr(check_repeats, "equations", counted)
    prepare(TuneArguments(learner=learner, space=LR, data=DATA, **given))
    assert suspects(learner) == ["np.random"]
    assert len(traced) == 1
    assert sys.getprofile() is None


def test_draws_of_jax_are_not_suspected():
    noisy = lambda k, b, h: {**b, "x": b["x"] + jax.random.normal(k, b["x"].shape)}
    assert suspects(mlp_learner(augment=noisy), vt.train_state_learner) == []


class Convolved(nn.Module):
    """Of images without channels, or one by one."""

    alone: bool = False

    @nn.compact
    def __call__(self, x):
        if self.alone:
            kind = nn.vmap(nn.Conv, variable_axes={"params": None}, split_rngs={"params": False})
            x = kind(2, (3, 3))(x[..., None])
        else:
            x = nn.Conv(2, (3, 3))(x)
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


def test_rows_that_a_convolution_takes_for_an_image_are_named(refused):
    images = blobs(features=16, shape=(4, 4))
    parts = {"optimizer": lambda h: optax.sgd(h["lr"]), "loss": xent}
    says = r"convolution Conv_0 takes the 16 rows .* input \[16, 4, 4\] has no axis of channels"
    with refused(TypeError, says):
        tune(vt.flax_learner(Convolved(), **parts), data=images)
    # Four images of height four, one by one: the input looks alike, and does not grow with them.
    given = {"search": vt.Random(2), "epochs": 1, "batch_size": 4, "data": images}
    learner = vt.flax_learner(Convolved(alone=True), **parts)
    prepare(TuneArguments(learner=learner, space=LR, **given))


def test_a_model_without_parameters_is_warned_of(refused):
    with refused(UserWarning, "the model has no parameters, so nothing is trained"):
        modelled(Empty())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "None"),
        (0.5, "0.5"),
        (np.zeros((2, 3), np.float32), "float32[2,3]"),
        ({}, "a dict with nothing"),
        ([1, 2], "a list of 2"),
        (int, "the class int"),
        (iter([]), "an object of type list_iterator"),
    ],
)
def test_values_are_described(value, says):
    assert described(value) == says
