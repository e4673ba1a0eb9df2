"""Metrics equal scikit-learn's, over batches of any size with padding."""

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

import vtune as vt
from vtune.evaluate import evaluation_batches


def in_batches(metric, outputs, y, size):
    """The metric's value, accumulated over padded batches as the program does."""
    rows = jnp.arange(len(y), dtype=jnp.int32)
    total = None
    for index, weight in zip(*evaluation_batches(rows, size), strict=True):
        part = metric.measure(outputs[index], {"y": y[index]}, weight)
        total = part if total is None else tuple(map(jnp.add, total, part))
    return float(metric.score(total))


sizes = st.integers(1, 12)
seeds = st.integers(0, 10_000)


@settings(max_examples=12)  # every new shape compiles anew
@given(seeds, st.integers(1, 30), st.integers(2, 5), sizes)
def test_classification_equals_sklearn(seed, rows, classes, size):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)).astype(np.float32) * 3
    y = rng.integers(0, classes, rows)
    accuracy = in_batches(vt.metrics.accuracy, jnp.asarray(logits), jnp.asarray(y), size)
    assert accuracy == pytest.approx(sk.accuracy_score(y, logits.argmax(1)), abs=1e-6)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    expected = sk.log_loss(y, p, labels=range(classes))
    got = in_batches(vt.metrics.log_loss, jnp.asarray(logits), jnp.asarray(y), size)
    assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("wide", [False, True])
@settings(max_examples=12)  # every new shape compiles anew
@given(seed=seeds, rows=st.integers(1, 30), size=sizes)
def test_one_logit_is_binary_classification(wide, seed, rows, size):
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=rows).astype(np.float32) * 3
    y = rng.integers(0, 2, rows)
    outputs = jnp.asarray(logit[:, None] if wide else logit)
    got = in_batches(vt.metrics.accuracy, outputs, jnp.asarray(y), size)
    assert got == pytest.approx(sk.accuracy_score(y, logit > 0), abs=1e-6)
    p = 1 / (1 + np.exp(-logit.astype(np.float64)))
    got = in_batches(vt.metrics.log_loss, outputs, jnp.asarray(y), size)
    assert got == pytest.approx(sk.log_loss(y, p, labels=[0, 1]), rel=1e-4, abs=1e-5)


@settings(max_examples=12)  # every new shape compiles anew
@given(seeds, st.integers(1, 30), sizes)
def test_regression_equals_sklearn(seed, rows, size):
    rng = np.random.default_rng(seed)
    outputs, y = rng.normal(size=(2, rows, 2)).astype(np.float32)
    table = {
        "mse": sk.mean_squared_error,
        "rmse": sk.root_mean_squared_error,
        "mae": sk.mean_absolute_error,
    }
    for name, reference in table.items():
        metric = getattr(vt.metrics, name)
        got = in_batches(metric, jnp.asarray(outputs), jnp.asarray(y), size)
        expected = reference(y, outputs)
        if name == "rmse":  # over all targets together, not averaged over columns
            expected = np.sqrt(sk.mean_squared_error(y, outputs))
        assert got == pytest.approx(expected, rel=1e-5)


def test_padding_may_be_nan():
    weight = jnp.array([1.0, 0.0])
    totals = vt.metrics.mse.measure(jnp.array([1.0, jnp.nan]), {"y": jnp.zeros(2)}, weight)
    assert float(vt.metrics.mse.score(totals)) == 1.0
