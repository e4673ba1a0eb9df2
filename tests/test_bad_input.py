"""Bad input gets a clear error before anything is compiled: what was seen, what to write."""

import copy
import datetime
import inspect
import pickle
from decimal import Decimal
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from problems import LR, MLP, blobs, quadratic
from solo import xent

import vtune as vt
from vtune.learner.contracts import call_arguments
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare

DATA = blobs()
SEARCH = vt.Random(2)


def learner(model=None, **parts):
    defaults = {
        "optimizer": lambda h: optax.sgd(h["lr"]),
        "loss": xent,
        "metrics": {"accuracy": vt.metrics.accuracy},
    }
    return vt.flax_learner(model or MLP(), **{**defaults, **parts})


def tune(learned=None, space=None, data=DATA, **options):
    options = {"search": SEARCH, "epochs": 1, "batch_size": 16, **options}
    options = {k: v for k, v in options.items() if v is not ...}
    return vt.tune(learned or learner(), space or LR, data, **options)


def relabelled(y):
    return vt.holdout({"x": np.zeros((len(y), 6)), "y": np.asarray(y)}, seed=0)


class Shaped(nn.Module):
    width: object

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.Dense(self.width)(x))


class Transposed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x).T


class FlaxDropout(nn.Module):
    rate: object

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(nn.Dropout(self.rate, deterministic=not train)(x))


class Sowing(nn.Module):
    @nn.compact
    def __call__(self, x):
        self.sow("losses", "norm", jnp.mean(x**2))
        return nn.Dense(3)(x)


class Misnamed(nn.Module):
    @nn.compact
    def __call__(self, image, mask):
        return nn.Dense(3)(image * mask)


def branching(h):
    return optax.sgd(h["lr"] if h["lr"] < 1 else 1.0)


def warm(h):
    return optax.sgd(optax.warmup_cosine_decay_schedule(0.0, h["lr"], 2, 10))


def warm_long(h):
    return optax.sgd(optax.warmup_cosine_decay_schedule(0.0, h["lr"], 10, 10))


def own_steps(h):
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 1, h["total_steps"])
    return optax.sgd(lambda step: h["lr"] * schedule(step))


def warm_fraction(h):
    steps = int(h["warm"] * 100)
    return optax.sgd(optax.warmup_cosine_decay_schedule(0.0, 0.1, steps, 100))


def decaying(h):
    return optax.sgd(optax.exponential_decay(h["lr"], 10, h["rate"]))


def setting(h):
    h["lr"] = 1.0


def traced(build, shape=(2,)):
    """Calls with an array that JAX traces."""
    return jax.vmap(build)(np.ones(shape, np.float32))


def unread(space, **options):
    """Of a learner that reads "lr" as a number, and nothing else."""
    return tune(quadratic(), space, data=None, epochs=..., steps=3, **options)


def optax_hot(logits, batch, h):
    return optax.softmax_cross_entropy(logits, batch["y"])


def weighted(outputs, batch, h):
    return xent(outputs, batch, h), batch["w"]


def known(outputs, batch, h):
    return xent(outputs, {"y": jnp.maximum(batch["y"], 0)}, h)


def counted(**named):
    metric = vt.metrics.accuracy(weight="w")
    return learner(**{argument: {name: metric} for argument, name in named.items()})


FOLDS = [(np.r_[10:40], np.r_[:10]), (np.r_[:30], np.r_[30:40])]


def counting(w, folds=None, y=None):
    arrays = {"x": np.zeros((40, 6)), "y": np.arange(40) % 3 if y is None else y, "w": w * 1.0}
    return vt.holdout(arrays, seed=0) if folds is None else vt.kfold(arrays, folds)


def held_out(weight):
    """1 for training rows of `counting`, and this for those held out."""
    weights = np.ones(40)
    weights[np.asarray(counting(weights).valid)] = weight
    return weights


WRONG = {"err": vt.metrics.mean(lambda o, b: o.argmax(-1) != b["y"])}
PAIR = vt.metrics.Metric(lambda o, b, w: o.sum(), lambda total: total)
HOT = np.eye(3)[np.arange(9) % 3]
RATE = {**LR, "rate": vt.Float(0.1, 0.9)}
WIDTH = {**LR, "width": vt.Int(4, 8)}
ROWS = len(DATA.train)

CASES = {
    # members, epochs, rounds, batches
    "no_length": (lambda: tune(epochs=...), ValueError, r"epochs= or steps= .* neither is"),
    "two_lengths": (lambda: tune(steps=3), ValueError, r"epochs= or steps= .* both are"),
    "epochs_0": (lambda: tune(epochs=0), ValueError, r"epochs=0 must be a whole number, 1 or"),
    "epochs_half": (lambda: tune(epochs=1.5), ValueError, r"epochs=1.5 must be a whole number"),
    "steps_negative": (lambda: tune(epochs=..., steps=-1), ValueError, r"steps=-1 must be"),
    "rounds_many": (
        lambda: tune(rounds=99),
        ValueError,
        r"rounds=99 is above the 4 steps; give 4 or less",
    ),
    "rounds_0": (lambda: tune(rounds=0), ValueError, r"rounds=0 must be"),
    "batch_0": (lambda: tune(batch_size=0), ValueError, r"batch_size=0 must be 1 or more"),
    "batch_negative": (lambda: tune(batch_size=-4), ValueError, r"batch_size=-4 must be 1"),
    "batch_float": (lambda: tune(batch_size=8.0), TypeError, r"batch_size=8.0 must be a whole"),
    "batch_large": (
        lambda: tune(batch_size=1000),
        ValueError,
        rf"batch_size=1000 is above the {ROWS} training rows; give {ROWS} or less",
    ),
    "batch_traced": (
        lambda: tune(batch_size=lambda h: h["lr"]),
        ValueError,
        r"batch_size reads 'lr', which is not structural; write vt.Categorical",
    ),
    "eval_batch_0": (lambda: tune(eval_batch_size=0), ValueError, r"eval_batch_size=0 must be"),
    "seed_negative": (lambda: tune(seed=-1), ValueError, r"seed=-1 must be"),
    "seed_float": (lambda: tune(seed=0.5), ValueError, r"seed=0.5 must be"),
    "epochs_chance": (
        lambda: tune(epochs=lambda h: np.random.randint(1, 9)),  # noqa: NPY002
        ValueError,
        r"epochs= gives something else each time it is called: it reads np.random; .*h\[\"epochs",
    ),
    "nothing_to_search": (
        lambda: tune(space={"lr": 0.1}, search=None),
        UserWarning,
        r"nothing to search, so 64 members train with one setting, .* write search=vt.Halton\(1\)",
    ),
    # what members are compared by
    "metric_itself": (
        lambda: tune(metric=vt.metrics.accuracy),
        TypeError,
        r"metric= is the name of .*, got a Metric itself; .* and metric=\"accuracy\"",
    ),
    "metric_contrary": (
        lambda: tune(metric="accuracy", mode="min"),
        UserWarning,
        r"mode='min': the metric 'accuracy' says itself that mode='max' is better",
    ),
    "metric_derived": (
        lambda: tune(learner(metrics={"a": vt.metrics.accuracy, "a/std": vt.metrics.log_loss})),
        ValueError,
        r"the metric 'a/std' has the name that is kept for what is said of 'a'",
    ),
    "dropout": (
        lambda: tune(learner(lambda h: MLP(rate=1.5))),
        ValueError,
        r"Dropout: rate=1.5 is no probability; give a number from 0 to 1",
    ),
    "fixed_nan": (
        lambda: tune(space={**LR, "decay": float("nan")}),
        ValueError,
        r"space\['decay'\] is NaN",
    ),
    "int_step": (lambda: vt.Int(1, 10, step=20), ValueError, r"low=1 would be the only value"),
    "float_one": (
        lambda: vt.Float(1, 1 + 1e-9),
        ValueError,
        r"low=1 and high=1.000000001 are one number in float32; give it alone, or set jax",
    ),
    "fixed_large": (
        lambda: tune(space={"lr": 10**400}),
        ValueError,
        r"space\['lr'\]: 1000\d+\.\.\.\d+ is too large for any number of JAX's",
    ),
    "replay_rounds": (
        lambda: vt.replay(learner(), DATA, {"lr": [0.1] * 9}, epochs=1),
        ValueError,
        r"replay: the schedule has a value for each of 9 rounds; rounds=9 is above the",
    ),
    "ordinal_large": (
        lambda: vt.Ordinal([2**40 + 1, 2**41]),
        ValueError,
        r"1099511627777 does not fit 32 bits; write 1099511627777.0 if a real number",
    ),
    "augment_cut": (
        lambda: tune(learner(augment=lambda k, b, h: {**b, "x": b["x"].astype(int)})),
        TypeError,
        r"augment changed 'x' from float32\[16,6\] to int32\[16,6\], which cuts its values",
    ),
    "refiner_without_range": (
        lambda: tune(
            space={"lr": vt.Categorical([0.1, 0.2])}, search=vt.Random(4), refiner=vt.PBT()
        ),
        UserWarning,
        r"PBT has nothing to change, since no hyperparameter of the space is traced",
    ),
    "hyperband_rounds": (
        lambda: tune(search=None, refiner=vt.Hyperband(max_rounds=9)),
        ValueError,
        r"Hyperband\(max_rounds=9\) needs as many rounds, and there are 4 steps; give more epochs=",
    ),
    "top_k": (
        lambda: tune(learner(metrics={"top": vt.metrics.top_k_accuracy(3)})),
        UserWarning,
        r"top_k_accuracy\(k=3\) is 1 for everybody, since there are 3 classes; give k=2 or less",
    ),
    "metric_unknown": (
        lambda: tune(metric="acuracy", mode="max"),
        ValueError,
        r"metric='acuracy' is not recorded .* \['accuracy', 'loss'\]",
    ),
    "metric_kind": (
        lambda: tune(metric=3),
        TypeError,
        r"metric must be the name of a metric or a function of the metrics, got 3",
    ),
    "metric_vector": (
        lambda: tune(metric=lambda m: jnp.ones(3), mode="max"),
        ValueError,
        r"has shape \[3\]; members are compared by one number",
    ),
    "mode_unknown": (lambda: tune(mode="best"), ValueError, r"mode='best' must be \"max\""),
    "mode_missing": (lambda: tune(metric=lambda m: m["loss"]), ValueError, r"give mode=\"max\""),
    "metric_typo": (
        lambda: tune(metric="acuracy"),
        ValueError,
        r"metric='acuracy' is not one of the learner's metrics, \['loss', 'accuracy'\]; did you "
        r"mean 'accuracy'",
    ),
    "metric_shortened": (lambda: tune(metric="acc"), ValueError, r"did you mean 'accuracy'\?"),
    "metric_typo_with_mode": (
        lambda: tune(metric="acc", mode="max"),
        ValueError,
        r"choose one of \['accuracy', 'loss'\] \(did you mean 'accuracy'\?\)",
    ),
    "metric_function": (
        lambda: tune(learner(metrics={"right": lambda out, batch: out})),
        TypeError,
        r"metrics\['right'\] must be a metric, .* vt.metrics.mean\(function, mode=",
    ),
    "hyperparameters_as_a_rate": (
        lambda: tune(learner(optimizer=optax.adam)),
        ValueError,
        r"h holds all hyperparameters \('lr', 'total_steps', .*\); take one: h\[\"lr\"\]",
    ),
    "hyperparameters_as_a_width": (
        lambda: tune(learner(lambda h: MLP(h))),
        ValueError,
        r"h holds all hyperparameters .* take one: h\[\"lr\"\]",
    ),
    "hyperparameters_compared": (
        lambda: tune(learner(optimizer=lambda h: optax.sgd(0.1 if h > 1 else 0.2))),
        ValueError,
        r"h holds all hyperparameters ",
    ),
    "hyperparameters_in_an_array": (
        lambda: tune(learner(loss=lambda out, batch, h: xent(out, batch, h) * jnp.log(h))),
        ValueError,
        r"h holds all hyperparameters ",
    ),
    "hyperparameter_as_attribute": (
        lambda: tune(learner(optimizer=lambda h: optax.sgd(h.lr))),
        AttributeError,
        r'read by name: h\["lr"\], not h.lr',
    ),
    "metric_of_an_own_learner": (
        lambda: tune(quadratic(), data=None, epochs=..., steps=3, metric="energy"),
        ValueError,
        r"metric='energy' does not say whether higher is better; give mode=\"max\" or",
    ),
    "metric_of_unknown_direction": (
        lambda: tune(learner(metrics=WRONG), metric="err"),
        ValueError,
        r"metric='err' does not say whether higher is better; write vt.metrics.mean\(..., mode=",
    ),
    "metric_pair_of_unknown_direction": (
        lambda: tune(learner(metrics={"err": PAIR}), metric="err"),
        ValueError,
        r"metric='err' does not say whether higher is better; write .* mode=\"min\"\); mode=",
    ),
    "metric_direction": (
        lambda: vt.metrics.mean(lambda o, b: o, mode="lower"),
        ValueError,
        r"mode='lower' must be \"max\" \(higher is better\) or \"min\"",
    ),
    "metric_direction_of_an_own_learner": (
        lambda: tune(
            quadratic()._replace(modes=(("energy", "lower"),)),
            data=None,
            epochs=...,
            steps=3,
            metric="energy",
        ),
        ValueError,
        r"mode='lower' must be \"max\"",
    ),
    "score_kind": (
        lambda: tune(quadratic()._replace(score=lambda t: t), data=None, epochs=..., steps=3),
        TypeError,
        r"the learner's score returned float32\[\]; return a dict of metrics by name",
    ),
    "learner_arguments": (
        lambda: tune(quadratic()._replace(init=lambda key, h: 1.0), data=None, epochs=..., steps=3),
        TypeError,
        r"the learner's init must take the arguments \(key, h, batch\)",
    ),
    "metric_option": (
        lambda: vt.metrics.f1(avg="macro"),
        TypeError,
        r"unexpected keyword argument 'avg'; this metric's options are average, ",
    ),
    "metric_mean_scalar": (
        lambda: tune(learner(metrics={"own": vt.metrics.mean(lambda o, b: o.mean())})),
        ValueError,
        r"metrics.mean: the function returned shape \[\] for a batch of 24 rows; return a value a",
    ),
    "batch_size_range": (
        lambda: tune(batch_size=vt.Categorical([8, 16])),
        TypeError,
        r"write \"batch_size\": Categorical.* into the space and give batch_size=lambda h: h\[",
    ),
    "epochs_range": (
        lambda: tune(epochs=vt.Int(1, 3)),
        TypeError,
        r"write \"epochs\": Int.* into the space and give epochs=lambda h: h\[\"epochs\"\]",
    ),
    "epochs_in_quotes": (
        lambda: tune(epochs=lambda h: "3"),
        TypeError,
        r"epochs='3' must be a whole number",
    ),
    "epochs_none": (lambda: tune(epochs=lambda h: None), TypeError, r"epochs=None must be a whole"),
    "epochs_not_finite": (lambda: tune(epochs=lambda h: np.inf), TypeError, r"epochs=inf must be"),
    "epochs_arguments": (
        lambda: tune(epochs=lambda: 3),
        TypeError,
        r"epochs must take the arguments \(h\)",
    ),
    "batch_size_arguments": (
        lambda: tune(batch_size=lambda h, x: 3),
        TypeError,
        r"batch_size must take the arguments \(h\)",
    ),
    "batch_size_or_else": (
        lambda: tune(space={**LR, "n": vt.Int(8, 16)}, batch_size=lambda h: h.get("n", 8)),
        ValueError,
        r"batch_size reads 'n', which is not structural",
    ),
    "steps_range": (
        lambda: tune(epochs=..., steps=vt.Int(1, 3)),
        TypeError,
        r"steps=Int.*; give one number",
    ),
    # parts of the wrong kind
    "learner_kind": (
        lambda: tune(MLP()),
        TypeError,
        r"learner must be a vt.Learner, got MLP; make one with vt.flax_learner",
    ),
    "data_kind": (
        lambda: tune(data={"x": 1}),
        TypeError,
        r"data must be a vt.Data, got dict; make one with vt.hold",
    ),
    "data_overlapping": (
        lambda: tune(data=vt.Data(DATA.arrays, np.arange(60), np.arange(59, 70))),
        ValueError,
        r"data: row 59 both trains and validates",
    ),
    "data_beyond": (
        lambda: tune(data=vt.Data(DATA.arrays, np.arange(60), np.arange(90, 97))),
        ValueError,
        r"data.valid goes from 90 to 96; there are rows 0 to 95",
    ),
    "data_without_validation": (
        lambda: tune(data=vt.Data(DATA.arrays, np.arange(60), np.arange(0))),
        ValueError,
        r"data.valid is int64\[0\]; give row numbers \[rows\], 1 or more",
    ),
    "data_of_lists": (
        lambda: tune(data=vt.Data(DATA.arrays, [0, 1], [2])),
        TypeError,
        r"data.train must be an array of row numbers; got a list",
    ),
    "data_of_unlike_length": (
        lambda: tune(
            data=vt.Data({"x": np.zeros((9, 6)), "y": np.zeros(8)}, *np.eye(2, dtype=int))
        ),
        ValueError,
        r"data: the arrays must have equally many rows, 1 or more; got \{'x': 9, 'y': 8\}",
    ),
    "rows_of_0": (lambda: DATA.rows(0, 0, 0), ValueError, r"rows: batch_size=0 must be"),
    "rows_of_a_negative_seed": (lambda: DATA.rows(-1, 0, 4), ValueError, r"rows: seed=-1 must be"),
    "key_of_a_text": (lambda: vt.member_key("a", 0), ValueError, r"member_key: seed='a' must be"),
    "schedule_ragged": (
        lambda: vt.replay(learner(), DATA, {"lr": [0.1, [0.2]]}, epochs=2),
        ValueError,
        r"schedule\['lr'\] must hold one number per round, got \[0.1, \[0.2\]\]",
    ),
    "search_settings": (
        lambda: tune(search=[{"lr": 0.1}, {"rate": 0.1}]),
        ValueError,
        r"Given: setting 1 has 'rate', which is not in the space \(it has 'lr'\)",
    ),
    "search_numbers": (lambda: tune(search=[0.1, 0.2]), TypeError, r"setting 0 is 0.1, not a dict"),
    "search_nothing": (lambda: tune(search=()), ValueError, r"Given: no settings; give at least"),
    "search_setting": (
        lambda: tune(search={"lr": 0.1}),
        TypeError,
        r"must have a draw method, got {'lr': 0.1}; write \[{...}, {...}\] for settings of your",
    ),
    "search_frame": (
        lambda: tune(search=pd.DataFrame({"lr": [0.1, np.nan]})),
        ValueError,
        r"Given: setting 1 lacks 'lr'",
    ),
    "search_study": (
        lambda: tune(search=SimpleNamespace(get_trials=list)),
        TypeError,
        r"write vt.Given.from_optuna\(study\) for its best settings",
    ),
    "search_sampler": (
        lambda: tune(search=SimpleNamespace(sample_relative=dict)),
        TypeError,
        r"write vt.Generations\(sampler, size=64, generations=5\)",
    ),
    "search_arguments": (
        lambda: tune(search=SimpleNamespace(draw=lambda space: ())),
        TypeError,
        r"search: draw must take the arguments \(space, seed\)",
    ),
    "learner_flag": (
        lambda: tune(quadratic()._replace(whole_batches="no"), data=None, epochs=..., steps=3),
        TypeError,
        r"Learner: whole_batches='no' must be True or False",
    ),
    "search_class": (lambda: tune(search=vt.Halton), TypeError, r"write vt.Halton\(64\)"),
    "refiner_class": (
        lambda: tune(refiner=vt.refine.Keep),
        TypeError,
        r"write vt.PBT\(\) or vt.Halving\(\)",
    ),
    "layout_unknown": (
        lambda: tune(layout="tiles"),
        TypeError,
        r"layout='tiles' is not a layout; write \"auto\", \"fit\", \"vmap\"",
    ),
    "layout_0": (lambda: tune(layout=0), ValueError, r"chunk=0 must be a whole number, 1"),
    "layout_devices": (
        lambda: tune(layout=vt.Layout(devices=99)),
        ValueError,
        r"99 devices asked for, 2 are there",
    ),
    "epochs_without_data": (
        lambda: tune(quadratic(), data=None),
        ValueError,
        r"epochs= needs data; without data, give steps=",
    ),
    # labels
    "labels_one_hot": (
        lambda: tune(
            learner(loss=optax_hot),
            data=vt.holdout({"x": np.zeros((9, 6)), "y": HOT}, seed=0),
            batch_size=4,
        ),
        TypeError,
        r"labels batch\['y'\] are one-hot; give the classes: y.argmax",
    ),
    "labels_high": (
        lambda: tune(data=relabelled([0, 1, 2, 3] * 10)),
        ValueError,
        r"metrics\['accuracy'\]: labels batch\['y'\] run from 0 to 3; a model with 3 classes",
    ),
    "labels_negative": (
        lambda: tune(data=relabelled([0, 1, -1, 2] * 10)),
        ValueError,
        r"run from -1 to 2; .* needs labels 0 to 2",
    ),
    "labels_float": (
        lambda: tune(
            learner(loss=lambda o, b, h: xent(o, {"y": b["y"].astype(int)}, h)),
            data=relabelled([0.0, 1.0, 2.0, 1.0] * 10),
        ),
        TypeError,
        r"labels batch\['y'\] are of type float32; .* y.astype\('int32'\)",
    ),
    "targets_shape": (
        lambda: tune(
            learner(
                MLP(classes=1),
                loss=lambda o, b, h: jnp.square(o[:, 0] - b["y"]),
                metrics={"mse": vt.metrics.mse},
            )
        ),
        ValueError,
        r"outputs are \[1\] a row and the targets batch\['y'\] \[\]; make them alike",
    ),
    # what the user's functions return
    "loss_scalar": (
        lambda: tune(learner(loss=lambda o, b, h: xent(o, b, h).mean())),
        ValueError,
        r"loss returned a scalar for a batch of 16 rows; .* batch_loss=",
    ),
    "loss_shape": (
        lambda: tune(learner(loss=lambda o, b, h: o.T)),
        ValueError,
        r"loss returned shape \[3, 16\] for a batch of 16 rows",
    ),
    "loss_weights": (
        lambda: tune(learner(loss=lambda o, b, h: (xent(o, b, h), jnp.ones(3)))),
        ValueError,
        r"values \[16\] with weights \[3\]; return .* \[16\](?! or)",
    ),
    "loss_pairs": (
        lambda: tune(
            learner(MLP(classes=1), loss=lambda o, b, h: jnp.square(o - b["y"][None]), metrics={}),
        ),
        ValueError,
        r"a value for every pair of rows, \[16, 16\] .* write outputs\[:, 0\]",
    ),
    "loss_of_three": (
        lambda: tune(learner(loss=lambda o, b, h: (xent(o, b, h), b["y"], 1))),
        TypeError,
        r"loss returned a tuple of 3; return one value per example, or \(values, weights\)",
    ),
    "loss_dict": (
        lambda: tune(learner(loss=lambda o, b, h: {"loss": xent(o, b, h)})),
        TypeError,
        r"loss returned a dict with 'loss'; return one value per example",
    ),
    "loss_weights_text": (
        lambda: tune(learner(loss=lambda o, b, h: (xent(o, b, h), "w"))),
        TypeError,
        r"loss returned the text 'w'; return .*, real numbers",
    ),
    "loss_weights_complex": (
        lambda: tune(learner(loss=lambda o, b, h: (xent(o, b, h), 1j * xent(o, b, h)))),
        TypeError,
        r"loss returned complex64\[16\]; return .*, real numbers",
    ),
    "loss_weights_of_numpy": (
        lambda: tune(learner(loss=lambda o, b, h: (xent(o, b, h), np.ones(3)[b["y"]]))),
        jax.errors.TracerArrayConversionError,
        r"write jnp.asarray\(table\)\[...\] where a NumPy array is indexed",
    ),
    "batch_loss_pair": (
        lambda: tune(learner(loss=None, batch_loss=lambda o, b, h: (xent(o, b, h).mean(), 1.0))),
        TypeError,
        r"batch_loss returned a tuple of 2; return one value",
    ),
    # how much rows count
    "weights_0": (
        lambda: tune(learner(loss=weighted), data=counting(np.zeros(40))),
        ValueError,
        r"loss gives all 32 training rows the weight 0, so nothing would count",
    ),
    "weights_negative": (
        lambda: tune(learner(loss=weighted), data=counting(np.arange(40.0) - 1)),
        ValueError,
        r"loss gives row 0 of the data the weight -1; weights are 0, which leaves a row out, or",
    ),
    "weights_nan": (
        lambda: tune(
            learner(loss=lambda o, b, h: (xent(o, b, h), jnp.sqrt(b["w"] - 9))),
            data=counting(np.ones(40)),
        ),
        ValueError,
        r"loss gives row .* the weight nan",
    ),
    "weights_of_classes": (
        lambda: tune(
            learner(loss=lambda o, b, h: (xent(o, b, h), jnp.array([1.0, -2.0, 1.0])[b["y"]]))
        ),
        ValueError,
        r"loss gives row \d+ of the data the weight -2",
    ),
    "weights_of_a_label_that_never_is": (
        lambda: tune(learner(loss=lambda o, b, h: (xent(o, b, h), b["y"] == 7))),
        ValueError,
        r"loss gives all 72 training rows the weight 0",
    ),
    "weights_of_validation_rows": (
        lambda: tune(learner(loss=weighted), data=counting(held_out(0))),
        ValueError,
        r"loss gives all 8 validation rows the weight 0, so nothing would count",
    ),
    "weights_of_a_fold": (
        lambda: tune(learner(loss=weighted), data=counting(np.arange(40) >= 10, FOLDS)),
        ValueError,
        r"loss gives all 10 validation rows of fold 0 the weight 0",
    ),
    "weights_of_a_metric": (
        lambda: tune(counted(metrics="accuracy"), data=counting(held_out(0))),
        ValueError,
        r"metrics\['accuracy'\] gives all 8 validation rows the weight 0, so nothing would count",
    ),
    "weights_of_a_metric_in_a_fold": (
        lambda: tune(counted(metrics="accuracy"), data=counting(np.arange(40) >= 10, FOLDS)),
        ValueError,
        r"metrics\['accuracy'\] gives all 10 validation rows of fold 0 the weight 0",
    ),
    "weights_of_a_training_metric": (
        lambda: tune(counted(train_metrics="hits"), data=counting(1 - held_out(0))),
        ValueError,
        r"train_metrics\['hits'\] gives all 32 training rows the weight 0, so nothing would count",
    ),
    "ignored_everywhere_held_out": (
        lambda: tune(
            learner(metrics={"accuracy": vt.metrics.accuracy(ignore=-1)}, loss=known),
            data=counting(np.ones(40), y=np.where(held_out(0) > 0, 1, -1)),
        ),
        ValueError,
        r"metrics\['accuracy'\] gives all 8 validation rows the weight 0",
    ),
    "batch_loss_vector": (
        lambda: tune(learner(loss=None, batch_loss=xent)),
        ValueError,
        r"batch_loss returned shape \[16\], not one value .* goes into loss=",
    ),
    "output_axis": (
        lambda: tune(learner(Transposed())),
        ValueError,
        r"model returned shape \[3, 16\] for a batch of 16 rows; the first axis .* batch_loss= in",
    ),
    "output_axis_metric": (
        lambda: tune(learner(Transposed(), loss=None, batch_loss=lambda o, b, h: o.mean())),
        TypeError,
        r"metrics: (.|\n)*With batch_loss= outputs need not begin with the rows",
    ),
    "optimizer_result": (
        lambda: tune(learner(optimizer=lambda h: h["lr"])),
        TypeError,
        r"optimizer returned float32\[\], not an optax.GradientTransformation",
    ),
    "arguments": (
        lambda: tune(learner(Misnamed())),
        ValueError,
        r"__call__ takes \['image', 'mask'\], the data has \['x', 'y'\]",
    ),
    "labels_bool": (
        lambda: tune(data=relabelled([True, False] * 20)),
        TypeError,
        r'labels "y" are bool; give whole numbers: y.astype\("int32"\)',
    ),
    "labels_real": (
        lambda: tune(data=relabelled([0.0, 1.0] * 20)),
        TypeError,
        r'labels "y" are float32; give whole numbers: y.astype\("int32"\)',
    ),
    "values_in_an_array": (
        lambda: tune(space={"lr": np.logspace(-4, -1, 4)}),
        TypeError,
        r"'lr' is a fixed value here, an array of 4 numbers (.|\n)*\"lr\": vt.Ordinal\(\[...\]\)",
    ),
    "labels_column": (
        lambda: tune(
            learner(loss=lambda o, b, h: xent(o, {"y": b["y"][:, 0]}, h)),
            data=relabelled(np.zeros((20, 1), int)),
        ),
        ValueError,
        r"labels batch\['y'\] are \[1\] a row and the model's outputs \[3\]; .* y\[:, 0\]",
    ),
    "data_forgotten": (
        lambda: tune(data=None, epochs=..., steps=3),
        ValueError,
        r"this learner trains on data; write vt.tune\(learner, space, data",
    ),
    "penalty_shape": (
        lambda: tune(learner(penalty=lambda p, h: jnp.ones(2))),
        ValueError,
        r"penalty returned shape \[2\], not a scalar",
    ),
    "sown": (
        lambda: tune(learner(Sowing())),
        TypeError,
        r"collection 'losses' changes its structure .* write sown=\['losses'\]",
    ),
    "metric_shapes": (
        lambda: tune(
            quadratic()._replace(
                score=lambda t: {"loss": t[0], "units": t[1]},
                measure=lambda k, h, x, b, w: (x, jnp.ones(h["n"]) * h["lr"]),
            ),
            {"lr": vt.Float(0, 1), "n": vt.Categorical([1, 2])},
            data=None,
            epochs=...,
            steps=2,
        ),
        ValueError,
        r"metric 'units' has shape \[1\] in one cohort and \[2\] in another",
    ),
    "warmup_fraction": (
        lambda: tune(learner(optimizer=warm_fraction), {**LR, "warm": vt.Float(0.0, 0.3)}),
        TypeError,
        r"hyperparameter 'warm' is traced",
    ),
    # what the user's functions were given when they failed
    "loss_fails": (
        lambda: tune(data=relabelled(np.zeros((20, 1), int))),
        ValueError,
        r"called loss with outputs float32\[16,3\], batch {.*'y': int32\[16,1\]}",
    ),
    "model_fails": (
        lambda: tune(learner(nn.Conv(3, (3, 3)))),
        ValueError,
        r"called the model with batch {'x': float32\[16,6\], 'y': int32\[16\]}",
    ),
    "optimizer_fails": (
        lambda: tune(learner(optimizer=optax.sgd)),
        ValueError,
        r"called optimizer with h {'lr': float32\[\], 'steps_per_epoch': 4, 'total_steps': 4}",
    ),
    "measure_fails": (
        lambda: tune(learner(metrics={"own": vt.metrics.mean(lambda o, b: b["label"])})),
        KeyError,
        r"called metrics\['own'\].measure with outputs float32\[24,3\], batch {'x'",
    ),
    "metric_fails": (
        lambda: tune(metric=lambda m: m["f1"], mode="max"),
        KeyError,
        r"called metric with metrics {'accuracy': float32\[\], 'loss': float32\[\]}",
    ),
    # values that cannot be what the learner reads them as
    "a_value_of_none": (
        lambda: unread({"lr": None}),
        TypeError,
        r"'lr' is a fixed value here, None \(NoneType\) for every member of the cohort, and 8 in "
        r"its place works; to try several numbers, write \"lr\": vt.Ordinal",
    ),
    "a_schedule": (
        lambda: unread({"lr": optax.constant_schedule(0.1)}),
        TypeError,
        r"'lr' is a fixed value here, <function .* \(function\)",
    ),
    "a_date": (
        lambda: unread({"lr": datetime.timedelta(1)}),
        TypeError,
        r"'lr' is a fixed value here, datetime.timedelta\(days=1\) \(timedelta\)",
    ),
    "a_number_in_quotes_as_choice": (
        lambda: unread({"lr": vt.Categorical(["0.1"])}),
        TypeError,
        r"'lr' is a fixed value here, '0.1' \(str\)",
    ),
    "a_negative_width": (
        lambda: tune(learner(lambda h: Shaped(h["width"])), {**LR, "width": -1}),
        TypeError,
        r"'width' is a fixed value here, -1 \(int\) .* and 8 in its place works",
    ),
    "a_real_width": (
        lambda: tune(
            learner(lambda h: Shaped(h["width"])), {**LR, "width": vt.Categorical([4, 8.5])}
        ),
        TypeError,
        r"'width' is a fixed value here, 8.5 \(float\)",
    ),
    "set": (
        lambda: tune(learner(optimizer=setting)),
        TypeError,
        r'hyperparameters are read and not changed; make a dict of them: {\*\*h, "lr": 0.1}',
    ),
    "updated": (
        lambda: tune(learner(optimizer=lambda h: h.update(lr=1.0))),
        AttributeError,
        r"hyperparameters are read and not changed",
    ),
    "set_as_an_attribute": (
        lambda: tune(learner(optimizer=lambda h: setattr(h, "lr", 1.0))),
        TypeError,
        r"hyperparameters are read and not changed",
    ),
    # where JAX traces
    "in_jit": (
        lambda: jax.jit(lambda x: tune().best.score * x)(1.0),
        TypeError,
        r"called in a function that JAX traces; vtune compiles and runs programs of its own, so",
    ),
    "in_eval_shape": (
        lambda: jax.eval_shape(lambda: tune().best.score),
        TypeError,
        r"called in a function that JAX traces",
    ),
    "data_in_jit": (
        lambda: jax.jit(lambda x: vt.holdout({"x": np.ones((4, 2))}))(1.0),
        TypeError,
        r"holdout: called in a function that JAX traces",
    ),
    "traced_data": (
        lambda: traced(lambda x: vt.from_splits({"x": x}, {"x": x}), (2, 4, 3)),
        TypeError,
        r"x= holds arrays that JAX traces",
    ),
    "traced_rows": (
        lambda: traced(lambda x: vt.holdout({"x": [x, x]})),
        TypeError,
        r"holdout: x= holds arrays that JAX traces",
    ),
    "traced_value": (
        lambda: traced(lambda x: tune(space={"lr": x})),
        TypeError,
        r"space\['lr'\]: holds an array that JAX traces",
    ),
    "traced_choice": (
        lambda: traced(lambda x: tune(space={**LR, "c": vt.Categorical([{"a": [x]}])})),
        TypeError,
        r"space\['c'\]: holds an array that JAX traces",
    ),
    "traced_weights": (
        lambda: traced(lambda x: tune(init_from={"params": {"Dense_0": {"bias": x}}})),
        TypeError,
        r"init_from= holds arrays that JAX traces",
    ),
    "traced_refiner": (
        lambda: traced(lambda x: tune(refiner=vt.PBT(resample_probability=x))),
        TypeError,
        r"refiner= holds arrays that JAX traces",
    ),
    "traced_closure": (
        lambda: traced(lambda x: tune(learner(optimizer=lambda h: optax.sgd(h["lr"] * x)))),
        TypeError,
        r"learner= holds arrays that JAX traces",
    ),
    # more than there can be
    "trainings": (
        lambda: unread({"lr": 0.1}, seeds=10**9),
        ValueError,
        r"2 members of 1 folds and 1,000,000,000 seeds are 2,000,000,000 trainings; 100,000,000 at",
    ),
    "memory": (
        lambda: unread({"lr": 0.1}, layout=vt.Layout(memory=1)),
        MemoryError,
        r"the limit is 1 bytes, into which not even one fits. Take fewer rounds, a smaller model",
    ),
    # hyperparameters
    "not_in_space": (
        lambda: tune(learner(optimizer=lambda h: optax.sgd(h["lr"], momentum=h["momentum"]))),
        ValueError,
        r"hyperparameter 'momentum' is read but not in the space \(known here: 'lr', ",
    ),
    "control_flow": (
        lambda: tune(learner(optimizer=branching)),
        TypeError,
        r"hyperparameter 'lr' is traced .* in `if`(.|\n)*schedule\(step\)(.|\n)*vt.Categorical",
    ),
    "schedule": (
        lambda: tune(learner(optimizer=warm)),
        TypeError,
        r"hyperparameter 'lr' is traced(.|\n)*lambda step: h\[\"lr\"\] \* schedule\(step\)",
    ),
    "schedule_wrong_besides": (
        lambda: tune(learner(optimizer=warm_long)),
        TypeError,
        r"hyperparameter 'lr' is traced(.|\n)*it fails too, with: .* positive decay_steps",
    ),
    "schedule_of_own_steps": (
        lambda: tune(
            learner(optimizer=own_steps),
            {**LR, "epochs": vt.Int(2, 4)},
            epochs=lambda h: h["epochs"],
        ),
        TypeError,
        r"hyperparameter 'total_steps' is traced(.|\n)*cosine\(h\[\"lr\"\], h\[\"total_steps\"\]\)",
    ),
    "schedule_of_two": (
        lambda: tune(learner(optimizer=decaying), RATE),
        TypeError,
        r"hyperparameter 'rate' is traced",
    ),
    "shape": (
        lambda: tune(learner(lambda h: Shaped(h["width"])), WIDTH),
        TypeError,
        r"hyperparameter 'width' is traced(.|\n)*\"width\": vt.Categorical\(\[...\]\)",
    ),
    "flax_dropout": (
        lambda: tune(learner(lambda h: FlaxDropout(h["rate"])), RATE),
        TypeError,
        r"'rate' is traced(.|\n)*vt.nn.Dropout\(h\[\"rate\"\]\), or, in .*\"\], rngs=rngs\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named_before_anything_is_compiled(case, refused):
    call, error, says = CASES[case]
    with refused(error, says):
        call()


ASKED = {
    "epoch": (lambda: tune(epoch=3), r"tune takes no argument epoch=; write epochs="),
    "batchsize": (lambda: tune(batchsize=3), r"write batch_size="),
    "cost": (lambda: vt.cost(None, {}, n_trials=3), r"write search=vt.Halton\(n\)"),
    "n_trials": (lambda: tune(n_trials=3), r"write search=vt.Halton\(n\)"),
    "callback": (lambda: tune(callback=print), r"write callbacks=\[vt.log.TensorBoard\(path\)\]"),
    "verbose": (lambda: tune(verbose=1), r"write progress="),
    "time_limit": (lambda: tune(time_limit=600), r"write timeout=, in seconds"),
    "checkpoint": (lambda: tune(storage="a"), r"write checkpoint=.runs/a"),
    "near": (lambda: tune(patiense=3), r"did you mean patience=\?"),
    "extend": (lambda: vt.extend(None, n_epochs=3), r"extend takes no argument .*; write epochs="),
    "replay": (lambda: vt.replay(None, None, None, random_state=3), r"write seed="),
    "holdout": (lambda: vt.holdout({}, test_size=0.2), r"write fraction= .*, test= for the test"),
    "kfold": (lambda: vt.kfold({}, n_splits=5), r"kfold takes no argument n_splits=; write k="),
    "flax_learner": (lambda: learner(optimiser=3), r"did you mean optimizer=\?"),
    "scale": (lambda: vt.Float(0.1, 1, scale="log"), r"Float takes no .* write log=True"),
    "low": (lambda: vt.Int(min=1, max=3), r"Int takes no argument min=; write low=, high="),
    "size": (lambda: vt.Halton(size=1), r"Halton takes no argument size=; it takes"),
    "choices": (lambda: vt.Categorical(16, 32), r"as one list: vt.Categorical\(\[16, 32\]\)"),
    "load": (lambda: vt.load("runs"), r"vt.read\(path\) gives the results alone"),
}


@pytest.mark.parametrize("case", ASKED)
def test_arguments_of_other_libraries_are_answered(case):
    call, says = ASKED[case]
    with pytest.raises(TypeError, match=says):
        call()


def test_public_functions_keep_their_signatures():
    assert str(inspect.signature(vt.kfold)).startswith("(arrays: ")
    assert list(inspect.signature(vt.Float).parameters) == ["low", "high", "log", "step"]
    assert vt.tune.__doc__.startswith("Trains a whole population")
    assert pickle.loads(pickle.dumps(vt.tune)) is vt.tune
    assert copy.deepcopy(vt.Float(0, 1)) == vt.Float(0, 1)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("LogUniform", r"write vt.Float\(low, high, log=True\)"),
        ("choice", r"write vt.Categorical\(\[...\]\)"),
        ("hold_out", r"did you mean 'holdout'"),
        ("xyzzy", r"module 'vtune' has no attribute 'xyzzy'$"),
    ],
)
def test_names_of_other_libraries_are_answered(name, says):
    assert not hasattr(vt, name)
    with pytest.raises(AttributeError, match=says):
        getattr(vt, name)


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda: learner(optimizer=optax.adam(1e-3)), TypeError, r"write optimizer=lambda h"),
        (lambda: learner(loss=None), ValueError, r"give either loss= .* or batch_loss="),
        (lambda: learner(batch_loss=xent), ValueError, r"give either loss="),
        (lambda: learner(loss="mse"), TypeError, r"loss must be a function, got 'mse'"),
        (lambda: learner(MLP), TypeError, r"write MLP\(\) or lambda h"),
        (
            lambda: learner(loss=lambda o, b: o),
            TypeError,
            r"loss must take .*\(outputs, batch, h\); write loss=lambda out, batch, h: optax",
        ),
        (
            lambda: learner(loss=optax.softmax_cross_entropy_with_integer_labels),
            TypeError,
            r"batch is a dict .* write loss=lambda out, batch, h: optax.softmax.*\(out, batch\[",
        ),
        (
            lambda: learner(loss=None, batch_loss=optax.l2_loss),
            TypeError,
            r'write batch_loss=lambda out, batch, h: optax.l2_loss\(out, batch\["y"\]\).mean\(\)',
        ),
        (lambda: learner(optimizer=lambda: 3), TypeError, r"optimizer must take .* \(h\)"),
        (
            lambda: vt.nnx_learner(lambda h: 3, optimizer=lambda h: 3, loss=xent),
            TypeError,
            r"model must take the arguments \(h, rngs\)",
        ),
        (
            lambda: learner(metrics=[vt.metrics.mse]),
            TypeError,
            r"a dict .*; write metrics=",
        ),
        (lambda: learner(metrics={"a": 3}), TypeError, r"metrics\['a'\] must be a metric"),
        (
            lambda: learner(metrics={"loss": vt.metrics.mse}),
            ValueError,
            r"the name 'loss' is reserved",
        ),
        (
            lambda: vt.nnx_learner(3, optimizer=optax.sgd),
            TypeError,
            r"model must be a function .*, got int",
        ),
    ],
)
def test_bad_learners_are_named_when_built(build, error, says):
    with pytest.raises(error, match=says):
        build()


def test_a_users_own_error_is_shown_as_it_is():
    """A mistake that has nothing to do with tracing is not blamed on a hyperparameter."""

    def broken(h):
        return optax.sgd(h["lr"] * jnp.ones(3) @ jnp.ones(4))

    with pytest.raises(TypeError, match="dot_general"):
        tune(learner(optimizer=broken))


def test_numbers_that_lost_their_differences_are_warned_of(refused):
    """Scaled before the cast they are as good as any others."""
    far = 1.7e9 + np.random.default_rng(0).normal(size=(96, 6))
    data = vt.holdout({"x": far, "y": np.arange(96) % 3})
    with refused(
        UserWarning, r"'x' lies so far from 0 .* float32 loses .* vt.standardize\(data, 'x"
    ):
        tune(data=data)
    prepare(TuneArguments(learner=learner(), space=LR, data=vt.standardize(data, "x"), epochs=1))


def test_a_model_may_call_itself_by_any_name():
    class Other(nn.Module):
        @nn.compact
        def __call__(this, x):
            return nn.Dense(3)(x)

    assert call_arguments(Other().__call__, {"x": 1, "y": 2}, train=False) == ([], {"x": 1})


def test_unread_hyperparameters_warn():
    space = {**LR, "momentum": vt.Float(0, 1), "width": vt.Categorical([1]), "epochs": vt.Int(1, 2)}
    with (
        pytest.warns(UserWarning, match=r"'momentum', 'width' in the space: never read"),
        pytest.warns(UserWarning, match=r'write vt.tune\(..., epochs=lambda h: h\["epochs"\]\)'),
    ):
        tune(space=space)


def test_what_only_batch_size_reads_is_read(recwarn):
    tune(space={**LR, "rows": vt.Categorical([8, 16])}, batch_size=lambda h: h["rows"])
    assert not recwarn.list


BAD_ARRAYS = {
    "length": (
        {"x": np.zeros((5, 2)), "y": np.zeros(4)},
        ValueError,
        r"different lengths, \{'x': 5",
    ),
    "empty": ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, ValueError, r"arrays are empty"),
    "an empty tuple": ({"x": (), "y": [1, 2]}, ValueError, r"lengths, \{'x': 0, 'y': 2\}$"),
    "nothing": ({}, ValueError, r"the dict is empty"),
    "kind": (np.zeros(3), TypeError, r"ndarray is not a dict such as"),
    "nan": (
        {"x": np.array([[1.0], [np.nan], [np.inf]])},
        ValueError,
        r"'x' holds 2 NaN or inf",
    ),
    "frame": (
        pd.DataFrame({"a": [1.0]}),
        TypeError,
        r'give .*"y": frame.* vt.Columns\(.*\).fit\(frame',
    ),
    "small": (
        {"x": np.array([[0.0, 1.0], [1e-60, 1.0]])},
        ValueError,
        r"all 0 in float32, up to 1e-60",
    ),
    "beyond 64 bits": ({"x": [[2**70]]}, ValueError, r"whole numbers beyond 64 bits; scale them"),
    "ragged series": (
        {"x": pd.Series([[1], [1, 2]])},
        ValueError,
        r"rows of different shapes, such",
    ),
    "decimals": ({"x": [[Decimal(1)]]}, TypeError, r"numbers of type Decimal; write np.array\(x, "),
    "text": ({"x": np.array(["a", "b"])}, TypeError, r"entry 'x' is of type <U1"),
    "scalar": ({"x": np.float32(3)}, ValueError, r"'x' is a single number"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
@pytest.mark.parametrize(
    "maker", [vt.holdout, lambda a: vt.from_splits(a, a)], ids=["holdout", "split"]
)
def test_bad_arrays_are_named(case, maker, refused):
    arrays, error, says = BAD_ARRAYS[case]
    with refused(error, says):
        maker(arrays)
