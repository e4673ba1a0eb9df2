import functools
import gzip
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vtune as vt


def arrays(rows, classes=3):
    return {"x": np.arange(rows * 2.0).reshape(rows, 2), "y": np.arange(rows) % classes}


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 9))
def test_holdout_parts_every_row_once(rows, fraction, seed):
    data = vt.holdout(arrays(rows), fraction, seed)
    train, valid = np.asarray(data.train), np.asarray(data.valid)
    assert sorted([*train, *valid]) == list(range(rows))
    assert len(valid) == min(max(round(rows * fraction), 1), rows - 1)


@given(st.lists(st.integers(0, 4), min_size=20, max_size=60), st.integers(0, 9))
def test_stratified_holdout_keeps_the_shares(labels, seed):
    labels = np.array(labels)
    classes, counts = np.unique(labels, return_counts=True)
    data_of = {"x": np.zeros((len(labels), 1)), "y": labels}
    if counts.min() < 2:
        with pytest.raises(ValueError, match="needs two of each"):
            vt.holdout(data_of, 0.25, seed, stratify="y")
        return
    valid = np.asarray(vt.holdout(data_of, 0.25, seed, stratify="y").valid)
    assert len(valid) == round(len(labels) * 0.25)
    for label, count in zip(classes, counts, strict=True):
        assert abs((labels[valid] == label).sum() - count * len(valid) / len(labels)) < 1


def test_holdout_differs_by_seed_and_repeats():
    a, b, c = (np.asarray(vt.holdout(arrays(50), seed=s).valid) for s in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_split_takes_the_sets_as_given():
    train, valid = arrays(6), arrays(4)
    data = vt.from_splits(train, valid)
    np.testing.assert_array_equal(data.take(data.train)["x"], train["x"])
    np.testing.assert_array_equal(data.take(data.valid)["y"], valid["y"])


def test_bytes_stay_bytes():
    data = vt.holdout({"x": np.zeros((4, 3), np.uint8)})
    assert data.arrays["x"].dtype == np.uint8
    assert data.row_bytes == 3


@functools.cache
def epochs(rows):
    """(data of so many rows, a function (data, epoch) -> by batch size its batches)."""
    data = vt.holdout(arrays(rows), 0.2)
    sizes = range(1, min(10, len(data.train)) + 1)
    return data, jax.jit(lambda data, epoch: {size: data.rows(0, epoch, size) for size in sizes})


@given(st.sampled_from([2, 5, 9, 16, 33, 40]), st.integers(0, 5))
def test_an_epoch_takes_every_training_row_at_most_once(rows, epoch):
    data, batches_of = epochs(rows)
    train = np.asarray(data.train)
    for batch_size, batches in jax.device_get(batches_of(data, epoch)).items():
        assert batches.shape == (len(train) // batch_size, batch_size)
        assert len(set(batches.ravel())) == batches.size
        assert set(batches.ravel()) <= set(train)


def test_rows_depend_on_seed_and_epoch_and_not_on_jit():
    data = vt.holdout(arrays(40))
    plain = np.asarray(data.rows(1, 2, 8))
    assert np.array_equal(plain, jax.jit(lambda d, s, e: d.rows(s, e, 8))(data, np.uint32(1), 2))
    for other in (data.rows(2, 2, 8), data.rows(1, 3, 8)):
        assert not np.array_equal(plain, other)


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 20)), min_size=5, max_size=5))
def test_evaluation_covers_every_row_once_and_weighs_padding_0(cases):
    """Five sizes of data and batch in one program."""

    @jax.jit
    def evaluations():
        every = [jnp.arange(rows, dtype=jnp.int32) for rows, _ in cases]
        data = [vt.Data({}, rows, rows) for rows in every]
        return [own.evaluation(size) for own, (_, size) in zip(data, cases, strict=True)]

    for (rows, size), (index, weight) in zip(cases, jax.device_get(evaluations()), strict=True):
        assert index.shape == weight.shape == (-(-rows // size), size)
        assert list(index[weight == 1]) == list(range(rows))
        assert set(np.unique(weight)) <= {0.0, 1.0}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, "half"])
def test_bad_fractions_are_named(fraction):
    with pytest.raises(ValueError, match=r"fraction=.* must lie between 0 and 1"):
        vt.holdout(arrays(9), fraction)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: vt.holdout(arrays(1)), r"1 row cannot be split"),
        (lambda: vt.holdout(arrays(9), seed=-1), r"seed=-1"),
        (lambda: vt.holdout(arrays(9), stratify="z"), r"stratify='z' is not one of \['x', 'y'\]"),
        (lambda: vt.holdout(arrays(9), stratify="x"), r"needs labels \[rows\], got shape \(9, 2\)"),
        (
            lambda: vt.from_splits(arrays(3), {"x": np.zeros((2, 2))}),
            r"train has \['x', 'y'\], valid",
        ),
        (
            lambda: vt.from_splits({"x": np.zeros((3, 2))}, {"x": np.zeros((3, 4))}),
            r"'x' is float32\[2\] a row in train and float32\[4\]",
        ),
    ],
)
def test_bad_splits_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_of_every_type(tmp_path, code, zipped):
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(TYPES[code])
    raw = struct.pack(">BBBB3i", 0, 0, code, 3, 2, 3, 4) + values.tobytes()
    (tmp_path / "file").write_bytes(gzip.compress(raw) if zipped else raw)
    read = vt.read_idx(tmp_path / "file")
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", r"not an IDX file \(it starts with nothing\)"),
        (b"PK\x03\x04", r"not an IDX file \(it starts with 504b0304\)"),
        (struct.pack(">BBBB", 0, 0, 8, 3), r"cut short inside its header"),
        (struct.pack(">BBBBi", 0, 0, 8, 1, 5) + b"abc", r"needs 5 bytes, 3 are there"),
        (gzip.compress(b"abcdefgh", mtime=0)[:-9], r"damaged gzip file"),
    ],
    ids=["empty", "zip", "header", "short", "gzip"],
)
def test_bad_idx_files_are_named(tmp_path, raw, says):
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(ValueError, match=says):
        vt.read_idx(tmp_path / "file")
