"""Metrics equal scikit-learn's, over batches of any size, with padding, weights, absent classes
and ties."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import LR, MLP, blobs
from solo import plain_loop, xent

import vtune as vt
from vtune.metrics.totals import join_rows, split_rows

M = vt.metrics


def in_batches(metrics, outputs, y, size, sample_weight=None):
    """The values of a dict of metrics, accumulated over padded batches as the program does."""
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    run = accumulated(tuple(metrics.items()), size, len(y))
    return jax.device_get(run(outputs, y, weight))


@functools.cache
def accumulated(metrics, size, rows):
    """One jitted function for all metrics of a table and all values of a shape."""

    def run(outputs, y, sample_weight):
        every = jnp.arange(rows, dtype=jnp.int32)

        def one_batch(batch):
            index, weight = batch
            # What stands on padded rows must not matter.
            broken = jnp.where(weight.reshape(-1, *[1] * (outputs.ndim - 1)) > 0, 1.0, jnp.nan)
            out, labels = outputs[index] * broken, {"y": y[index]}
            weight = weight * sample_weight[index]
            return {name: m.measure(out, labels, weight) for name, m in metrics}

        measured = jax.lax.map(one_batch, vt.Data({}, every, every).evaluation(size))
        return {name: scored(metric, measured[name]) for name, metric in metrics}

    return jax.jit(run)


def scored(metric, measured):
    """A metric's value of what it measured [batches, ...], in a population of one."""
    totals, rows = split_rows(measured)
    totals = jax.tree.map(lambda leaf: leaf.sum(0)[None], totals)
    rows = jax.tree.map(lambda leaf: leaf[:, None], rows)
    return jax.vmap(metric.score)(join_rows(totals, rows))[0]


def assert_all_equal(table, got, *arguments):
    """Every metric's value is that of its reference."""
    for name, (_, reference) in table.items():
        expected = quiet(reference, *arguments)
        np.testing.assert_allclose(got[name], expected, atol=1e-6, rtol=1e-6, err_msg=name)


def metrics_of(table):
    return {name: metric for name, (metric, _) in table.items()}


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def quiet(f, *args, **kwargs):
    """scikit-learn's value; it warns where a metric is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f(*args, **kwargs)


def averaged(name, reference):
    cases = {}
    for average in ("micro", "macro", "weighted"):
        for zero in (0, 1, np.nan):
            cases[f"{name}-{average}-{zero}"] = (
                getattr(M, name)(average=average, zero_division=zero),
                lambda y, z, w, a=average, d=zero: reference(
                    y, z.argmax(1), average=a, zero_division=d, sample_weight=w
                ),
            )
    cases[f"{name}-labels"] = (
        getattr(M, name)(average="macro", labels=[0, 2]),
        lambda y, z, w: reference(
            y, z.argmax(1), average="macro", labels=[0, 2], sample_weight=w, zero_division=0
        ),
    )
    cases[f"{name}-micro-labels"] = (
        getattr(M, name)("micro", labels=[1, 2]),
        lambda y, z, w: reference(
            y, z.argmax(1), average="micro", labels=[1, 2], sample_weight=w, zero_division=0
        ),
    )
    cases[f"{name}-each"] = (
        getattr(M, name)(average=None),
        lambda y, z, w: reference(
            y, z.argmax(1), average=None, labels=range(4), sample_weight=w, zero_division=0
        ),
    )
    return cases


def roc(y, z, w, **options):
    if len(set(y)) < 4:
        return np.nan  # scikit-learn refuses
    return sk.roc_auc_score(y, softmax(z), sample_weight=w, **options)


CLASSES = {
    "accuracy": (M.accuracy, lambda y, z, w: sk.accuracy_score(y, z.argmax(1), sample_weight=w)),
    "log_loss": (
        M.log_loss,
        lambda y, z, w: sk.log_loss(y, softmax(z), labels=range(4), sample_weight=w),
    ),
    "perplexity": (
        M.perplexity,
        lambda y, z, w: np.exp(sk.log_loss(y, softmax(z), labels=range(4), sample_weight=w)),
    ),
    "bits": (
        M.bits_per_character,
        lambda y, z, w: sk.log_loss(y, softmax(z), labels=range(4), sample_weight=w) / np.log(2),
    ),
    "balanced": (
        M.balanced_accuracy,
        lambda y, z, w: sk.balanced_accuracy_score(y, z.argmax(1), sample_weight=w),
    ),
    "matrix": (
        M.confusion_matrix,
        lambda y, z, w: sk.confusion_matrix(y, z.argmax(1), labels=range(4), sample_weight=w),
    ),
    "ovr": (M.roc_auc(multi_class="ovr"), lambda y, z, w: roc(y, z, w, multi_class="ovr")),
    "ovr-weighted": (
        M.roc_auc("ovr", average="weighted"),
        lambda y, z, w: roc(y, z, w, multi_class="ovr", average="weighted"),
    ),
    **averaged("precision", sk.precision_score),
    **averaged("recall", sk.recall_score),
    **averaged("f1", sk.f1_score),
}
for k in (1, 2, 3):
    CLASSES[f"top-{k}"] = (
        M.top_k_accuracy(k),
        lambda y, z, w, k=k: sk.top_k_accuracy_score(y, z, k=k, labels=range(4), sample_weight=w),
    )
for norm in ("true", "pred", "all"):
    CLASSES[f"matrix-{norm}"] = (
        M.confusion_matrix(normalize=norm),
        lambda y, z, w, norm=norm: sk.confusion_matrix(
            y, z.argmax(1), labels=range(4), sample_weight=w, normalize=norm
        ),
    )
UNWEIGHTED = {
    "ovo": (M.roc_auc(multi_class="ovo"), lambda y, z: roc(y, z, None, multi_class="ovo")),
    "ovo-weighted": (
        M.roc_auc("ovo", average="weighted"),
        lambda y, z: roc(y, z, None, multi_class="ovo", average="weighted"),
    ),
}

# Few shapes, since every one compiles anew; many values.
rows_of = st.sampled_from([(1, 1), (7, 3), (24, 5), (24, 24)])
seeds = st.integers(0, 100_000)


def drawn(seed, rows, classes=4):
    """Logits with ties, labels of which some classes may be absent, weights."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * 3
    if seed % 2:  # ties between rows, and between the classes of one
        logits = logits[rng.integers(0, rows, rows)]
        logits[: rows // 3] = np.round(logits[: rows // 3, :1])
    y = rng.choice(rng.permutation(classes)[: rng.integers(1, classes + 1)], rows)
    if seed % 3 == 0 and rows >= classes:
        y[:classes] = np.arange(classes)
    return logits, y, rng.uniform(0.1, 2.0, rows)


@pytest.fixture(scope="module")
def double():
    """In float64, since the reference is."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=seeds, shape=rows_of)
def test_classification_equals_sklearn(double, seed, shape):
    """Every metric of a table, in one program a shape."""
    logits, y, weight = drawn(seed, shape[0])
    metrics = metrics_of(CLASSES) | metrics_of(UNWEIGHTED)
    for w in (None, weight):
        got = in_batches(metrics, logits, y, shape[1], w)
        assert_all_equal(CLASSES, got, y, logits, w)
        if w is None:  # one against one knows no weights in scikit-learn
            assert_all_equal(UNWEIGHTED, got, y, logits)


BINARY = {
    "accuracy": (M.accuracy, lambda y, z: sk.accuracy_score(y, z > 0)),
    "log_loss": (M.log_loss, lambda y, z: sk.log_loss(y, 1 / (1 + np.exp(-z)), labels=[0, 1])),
    "precision": (M.precision, lambda y, z: sk.precision_score(y, z > 0, zero_division=0)),
    "recall": (M.recall, lambda y, z: sk.recall_score(y, z > 0, zero_division=0)),
    "f1": (M.f1, lambda y, z: sk.f1_score(y, z > 0, zero_division=0)),
    "f1-one": (
        M.f1(pos_label=0, zero_division=1),
        lambda y, z: sk.f1_score(y, (z > 0).astype(int), pos_label=0, zero_division=1),
    ),
    "adjusted": (
        M.balanced_accuracy(adjusted=True),
        lambda y, z: sk.balanced_accuracy_score(y, z > 0, adjusted=True),
    ),
    "roc_auc": (
        M.roc_auc,
        lambda y, z: sk.roc_auc_score(y, z) if len(set(y)) == 2 else np.nan,
    ),
}


@pytest.mark.parametrize("form", ["flat", "wide", "two"])
@settings(max_examples=15)
@given(seed=seeds, shape=rows_of)
def test_binary_classification_equals_sklearn(double, form, seed, shape):
    rng = np.random.default_rng(seed)
    z = np.round(rng.normal(size=shape[0]) * 3, 1) + 0.05  # ties, none at 0
    y = rng.integers(0, 2, shape[0]) if seed % 5 else np.full(shape[0], seed % 2)
    outputs = {"flat": z, "wide": z[:, None], "two": np.stack([-z / 2, z / 2], 1)}[form]
    assert_all_equal(BINARY, in_batches(metrics_of(BINARY), outputs, y, shape[1]), y, z)


REGRESSION = {
    "mse": (M.mse, lambda y, z, w: sk.mean_squared_error(y, z, sample_weight=w)),
    "rmse": (M.rmse, lambda y, z, w: sk.root_mean_squared_error(y, z, sample_weight=w)),
    "mae": (M.mae, lambda y, z, w: sk.mean_absolute_error(y, z, sample_weight=w)),
    "r2": (M.r2, lambda y, z, w: sk.r2_score(y, z, sample_weight=w)),
    "pinball": (M.pinball_loss, lambda y, z, w: sk.mean_pinball_loss(y, z, sample_weight=w)),
    "pinball-0.9": (
        M.pinball_loss(0.9),
        lambda y, z, w: sk.mean_pinball_loss(y, z, alpha=0.9, sample_weight=w),
    ),
    "pinball-0": (
        M.pinball_loss(0),
        lambda y, z, w: sk.mean_pinball_loss(y, z, alpha=0, sample_weight=w),
    ),
}


@pytest.mark.parametrize("wide", [False, True])
@settings(max_examples=15)
@given(seed=seeds, shape=rows_of)
def test_regression_equals_sklearn(double, wide, seed, shape):
    rng = np.random.default_rng(seed)
    size = (shape[0], 2) if wide else shape[0]
    # A mean far from 0, or targets that are all the same.
    y = rng.normal(size=size) + 100
    y = np.full_like(y, 3.0) if seed % 7 == 0 else y
    outputs = y if seed % 14 == 0 else y + rng.normal(size=size)
    metrics = metrics_of(REGRESSION)
    assert_all_equal(REGRESSION, in_batches(metrics, outputs, y, shape[1]), y, outputs, None)
    if np.ptp(y) == 0:  # its weighted mean is off by rounding, and so is scikit-learn's answer
        return
    weight = rng.uniform(0.1, 2.0, shape[0])
    got = in_batches(metrics, outputs, y, shape[1], weight)
    assert_all_equal(REGRESSION, got, y, outputs, weight)


def test_single_precision_is_close():
    """As sweeps compute, with a mean far from 0, where sums of squares would lose all digits."""
    rng = np.random.default_rng(0)
    y = (rng.normal(size=500) + 1000).astype(np.float32)
    outputs = y + rng.normal(size=500).astype(np.float32) / 2
    got = in_batches(metrics_of(REGRESSION), outputs, y, 64)
    for name, (_, reference) in REGRESSION.items():
        assert got[name] == pytest.approx(reference(y, outputs, None), rel=1e-4), name


HALF = {
    "classes": {name: CLASSES[name] for name in ("log_loss", "perplexity", "bits", "ovr")},
    "two logits": {name: BINARY[name] for name in ("log_loss", "roc_auc")},
    "whole targets": REGRESSION,
    "half targets": REGRESSION,
}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("case", HALF)
def test_outputs_in_half_precision_are_measured_in_single(case, dtype):
    """1,003 rows, whose number has too many digits for bfloat16; so have sums, differences and
    logarithms. The references take the same outputs in double precision."""
    rng = np.random.default_rng(0)
    near = rng.integers(250, 300, 1003)
    y, outputs = {
        "classes": (rng.integers(0, 4, 1003), rng.normal(size=(1003, 4)) * 3),
        "two logits": (rng.integers(0, 2, 1003), rng.normal(size=(1003, 2)) * 3),
        "whole targets": (near, near + rng.normal(size=1003) * 5),
        "half targets": (jnp.asarray(rng.normal(size=1003), dtype), rng.normal(size=1003)),
    }[case]
    outputs = jnp.asarray(outputs, dtype)
    got = in_batches(metrics_of(HALF[case]), outputs, y, 1003)
    y, z = (np.asarray(array, np.float64) for array in (y, outputs))
    arguments = (y, z[:, 1] - z[:, 0]) if case == "two logits" else (y, z, None)
    arguments = arguments if case != "classes" else (y.astype(int), z, None)
    for name, (_, reference) in HALF[case].items():
        assert got[name] == pytest.approx(reference(*arguments), rel=1e-5), name


def test_recorded_metrics_are_those_of_a_plain_loop(x64):
    """Trained, accumulated over padded batches, beside scikit-learn on a plain loop's outputs."""
    data = blobs(rows=90)
    optimizer = lambda h: optax.adam(h["lr"])
    names = ("accuracy", "balanced_accuracy", "log_loss", "top_k_accuracy", "confusion_matrix")
    metrics = {name: getattr(M, name) for name in names}
    metrics |= {"f1": M.f1("macro"), "recall": M.recall("weighted"), "auc": M.roc_auc("ovr")}
    learner = vt.flax_learner(MLP(), optimizer=optimizer, loss=xent, metrics=metrics)
    options = {"epochs": 2, "batch_size": 16, "eval_batch_size": 7}
    sweep = vt.tune(learner, LR, data, search=vt.Halton(2), **options)
    train = plain_loop(lambda h: MLP(), optimizer)
    variables, _, _ = train(sweep[1].hparams, data, seed=0, id=1, steps=8, batch_size=16)
    valid = np.asarray(data.valid)
    x, y = (np.asarray(data.arrays[name])[valid] for name in ("x", "y"))
    z = np.asarray(MLP().apply(variables, x))
    p = softmax(z)
    expected = {
        "accuracy": sk.accuracy_score(y, z.argmax(1)),
        "balanced_accuracy": sk.balanced_accuracy_score(y, z.argmax(1)),
        "log_loss": sk.log_loss(y, p, labels=range(3)),
        "top_k_accuracy": sk.top_k_accuracy_score(y, z, k=2, labels=range(3)),
        "confusion_matrix": sk.confusion_matrix(y, z.argmax(1), labels=range(3)),
        "f1": sk.f1_score(y, z.argmax(1), average="macro"),
        "recall": sk.recall_score(y, z.argmax(1), average="weighted"),
        "auc": sk.roc_auc_score(y, p, multi_class="ovr"),
    }
    assert set(expected) == set(metrics)
    for name, value in expected.items():
        np.testing.assert_allclose(sweep[1].history[name][-1], value, atol=1e-6, err_msg=name)


def test_broken_outputs_are_never_right():
    broken, y = np.full((6, 3), np.nan, np.float32), np.array([0, 1, 2] * 2)
    got = in_batches({"top": M.top_k_accuracy, "log_loss": M.log_loss}, broken, y, 4)
    assert got["top"] == 0
    assert np.isnan(got["log_loss"])
    assert np.isnan(in_batches({"r2": M.r2}, broken[:, 0], np.ones(6, np.float32), 4)["r2"])


def test_labels_may_be_bools():
    logits, y = np.array([[0.0, 1.0], [2.0, 1.0]], np.float32), np.array([True, True])
    expected = sk.log_loss(y, softmax(logits), labels=[0, 1])
    got = in_batches({"log_loss": M.log_loss, "top": M.top_k_accuracy(1)}, logits, y, 2)
    assert got["log_loss"] == pytest.approx(expected, abs=1e-6)
    assert got["top"] == 0.5


def test_tokens_are_rows():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(6, 5, 3)).astype(np.float32), rng.integers(0, 3, (6, 5))
    got = in_batches({"f1": M.f1("macro"), "area": M.roc_auc("ovr")}, logits, y, 4)
    flat = sk.f1_score(y.ravel(), logits.reshape(-1, 3).argmax(1), average="macro")
    assert got["f1"] == pytest.approx(flat, abs=1e-6)
    area = sk.roc_auc_score(y.ravel(), softmax(logits).reshape(-1, 3), multi_class="ovr")
    assert got["area"] == pytest.approx(area, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: M.f1(average="mean"), ValueError, r"f1: average='mean' must be one of"),
        (lambda: M.recall(zero_division=2), ValueError, r"zero_division=2 must be 0, 1 or nan"),
        (lambda: M.f1(zero_division="warn"), ValueError, r"zero_division='warn' must be 0, 1"),
        (lambda: M.precision(labels=[]), TypeError, r"labels=\[\] must be a list of classes"),
        (lambda: M.top_k_accuracy(0), ValueError, r"k=0 must be a whole number"),
        (lambda: M.roc_auc("all"), ValueError, r"multi_class='all' must be"),
        (lambda: M.roc_auc(average="mean"), ValueError, r"average='mean' must be"),
        (lambda: M.confusion_matrix("rows"), ValueError, r"normalize='rows' must be"),
        (lambda: M.accuracy(), TypeError, r"has no options; give it as it is"),
        (lambda: M.pinball_loss("0.9"), TypeError, r"alpha='0.9' must be a number from 0 to 1, or"),
        (lambda: M.pinball_loss([]), TypeError, r"alpha=\[\] must be a number from 0 to 1, or"),
        (lambda: M.pinball_loss([0.1, True]), TypeError, r"alpha=\[0.1, True\] must be a number"),
        (lambda: M.pinball_loss(90), ValueError, r"alpha=90 must be from 0 to 1; write the 90 %"),
        (lambda: M.pinball_loss(np.array([0.5, np.nan])), ValueError, r"alpha=nan must be from 0"),
    ],
)
def test_wrong_options_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (M.f1, r'f1 is of two classes, the model has 3; say average="macro"'),
        (M.roc_auc, r"roc_auc is of two classes, the model has 3"),
        (M.recall("macro", labels=[3]), r"labels=\[3\], the model has classes 0 to 2"),
        (M.r2, r"outputs are \[3\] a row and the targets batch\['y'\] \[\]"),
        (M.pinball_loss(0.9), r"outputs are \[3\] a row and the targets batch\['y'\] \[\]"),
        (
            M.pinball_loss([0.1, 0.9]),
            r"pinball_loss of 2 quantiles: the model's outputs are \[3\] a row and the targets "
            r"batch\['y'\] \[\]; return \[2\] a row, the quantiles \[0.1, 0.9\] on the last axis",
        ),
        (
            M.perplexity(output=lambda out: out[:, 0]),
            r"perplexity needs a logit for every symbol, the model's outputs are \[\] a row and "
            r"the labels batch\['y'\] \[\]; return logits \[rows, places, symbols\]",
        ),
        (
            M.bits_per_character(output=lambda out: out[:, :1]),
            r"bits_per_character needs a logit for every symbol, .* are \[1\] a row",
        ),
        (M.perplexity(target="long"), r"labels batch\['y'\] run from 0 to 3; .* with 3 classes"),
    ],
)
def test_data_that_do_not_suit_are_named(metric, says):
    outputs = jax.ShapeDtypeStruct((4, 3), np.float32)
    with pytest.raises(ValueError, match=says):
        metric.check(outputs, {"y": np.array([0, 1, 2, 1]), "long": np.array([0, 1, 2, 3])})
