"""Data of more rows than are permuted: shuffled place by place, the same everywhere."""

import jax
import numpy as np
import pytest
from problems import recorder

import vtune as vt
from vtune.data import order
from vtune.engine import stepping
from vtune.rng.bijection import permuted
from vtune.rng.row_words import row_words

BATCH, MOST = 4, 30
UNLIKE = [(np.arange(40), [60, 61]), (np.arange(30, 55), [9, 10]), (np.arange(7), [41, 50])]


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch):
    monkeypatch.setattr(order, "LIMIT", 5)


def numbered(rows):
    return {"x": np.arange(rows, dtype=np.int32)}


def trained(data, refresh_batches=0, **options):
    sweep = vt.tune(
        recorder(MOST, BATCH, refresh_batches),
        {"lr": vt.Float(0.0, 1.0)},
        data,
        search=vt.Halton(2),
        batch_size=BATCH,
        metric="rows",
        mode="max",
        seed=6,
        **options,
    )
    return jax.device_get(sweep[1].variables)


def host_rows(fold, epoch, train, steps, seed=6):
    """The public rule in NumPy alone."""
    places = np.arange(steps * BATCH)
    at = permuted(row_words(seed, fold, epoch), len(train), places, np)
    return np.asarray(train)[at].reshape(steps, BATCH)


def test_rows_are_those_of_the_host():
    data = vt.holdout(numbered(51), 0.2)
    rows = [np.asarray(data.rows(6, epoch, BATCH)) for epoch in (0, 1)]
    for epoch in (0, 1):
        np.testing.assert_array_equal(rows[epoch], host_rows(0, epoch, data.train, 10))
        assert set(rows[epoch].ravel()) <= set(np.asarray(data.train).tolist())
        assert len(set(rows[epoch].ravel())) == 40
    assert not np.array_equal(*rows)
    assert sorted(np.asarray(data.order(6, 0))) == sorted(np.asarray(data.train))


@pytest.mark.parametrize("common", [False, True])
def test_rows_of_folds_are_those_of_the_host(common):
    data = vt.kfold(numbered(67), UNLIKE)
    data.common = common
    rows = np.asarray(data.rows(6, 2, BATCH))
    by_fold = np.asarray(data.rows(6, np.array([2, 0, 7]), BATCH))
    for fold, (train, _) in enumerate(UNLIKE):
        own, steps = 0 if common else fold, len(train) // BATCH
        np.testing.assert_array_equal(rows[fold, :steps], host_rows(own, 2, train, steps))
        epoch = (2, 0, 7)[fold]
        np.testing.assert_array_equal(by_fold[fold, :steps], host_rows(own, epoch, train, steps))


def test_data_on_the_host_are_read_in_the_order_of_data_in_memory():
    memory, host = (vt.holdout(numbered(51), 0.2, on=on) for on in ("device", "host"))
    read = host.read_training(6, 1, 3, 4, BATCH)["x"]  # rows are their own numbers
    np.testing.assert_array_equal(read, np.ravel(memory.rows(6, 1, BATCH)[3:7]))
    memory, host = (vt.kfold(numbered(67), UNLIKE, on=on) for on in ("device", "host"))
    epochs = np.array([2, 0, 7])
    read = host.read_training(6, epochs, np.array([3, 1, 0]), 1, BATCH)["x"]
    rows = memory.rows(6, epochs, BATCH)
    np.testing.assert_array_equal(read, [rows[0, 3], rows[1, 1], rows[2, 0]])


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (50, {"epochs": 2}),  # 10 steps an epoch, in even chunks
        (53, {"epochs": 2, "rounds": 1}),  # 10 steps, in chunks of 3
        (47, {"steps": 17, "rounds": 3}),  # rounds end within epochs
    ],
    ids=["even", "uneven", "rounds"],
)
def test_a_sweep_trains_on_the_rows_of_the_rule(rows, options, monkeypatch):
    monkeypatch.setattr(stepping, "GATHER_BYTES", 3 * BATCH * 4)
    data = vt.holdout(numbered(rows), 0.2)
    steps, per_epoch = options.get("steps", 20), len(data.train) // BATCH
    expected = np.concatenate([data.rows(6, epoch, BATCH) for epoch in range(3)])[:steps]
    assert per_epoch in (9, 10)
    np.testing.assert_array_equal(trained(data, **options)["seen"][:steps], expected)


def test_folds_of_unlike_size_train_on_the_rows_of_the_rule(monkeypatch):
    monkeypatch.setattr(stepping, "GATHER_BYTES", 9 * BATCH * 4)
    data = vt.kfold(numbered(67), UNLIKE)
    seen = trained(data, epochs=3)["seen"][:, 0]
    rows = np.stack([data.rows(6, epoch, BATCH) for epoch in range(3)])
    for fold, steps in enumerate(data.steps_by_fold(BATCH)):
        expected = rows[:, fold, :steps].reshape(-1, BATCH)
        np.testing.assert_array_equal(seen[fold, : 3 * steps], expected)
        assert (seen[fold, 3 * steps :] == -1).all()


@pytest.mark.parametrize(("steps", "epoch"), [(18, 2), (13, 1)])
def test_statistics_are_recomputed_on_the_first_batches_of_the_epoch(steps, epoch):
    data = vt.holdout(numbered(49), 0.2)
    refreshed = trained(data, refresh_batches=2, steps=steps, rounds=1)["refreshed"]
    np.testing.assert_array_equal(refreshed[:2], data.rows(6, epoch, BATCH)[:2])
    assert (refreshed[2:] == -1).all()


def test_a_chunk_takes_no_memory_for_the_other_rows():
    data = vt.holdout({"x": np.zeros((10_000, 1), np.uint8)}, 0.2)

    def chunk(data, seed, first):
        return data.chunk_rows(data.epoch_rows(seed, 0, BATCH), first, 3, BATCH)

    compiled = jax.jit(chunk).lower(data, np.uint32(6), np.int32(5)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4000
    expected = data.rows(6, 0, BATCH)[5:8]
    np.testing.assert_array_equal(compiled(data, np.uint32(6), np.int32(5)), expected)


def test_the_rule_depends_on_the_number_of_training_rows_alone(monkeypatch):
    large, small = (vt.holdout(numbered(rows), 0.2) for rows in (54, 53))
    monkeypatch.setattr(order, "LIMIT", len(small.train))
    np.testing.assert_array_equal(large.rows(6, 0, BATCH), host_rows(0, 0, large.train, 10))
    permuted_rows = jax.random.permutation(order.row_key(6, 0, 0), small.train)[:40]
    np.testing.assert_array_equal(small.rows(6, 0, BATCH).ravel(), permuted_rows)
