"""What data may be made of: converted, or refused by name; and their memory is their own."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sources import Tensor

import vtune as vt
from vtune.data import own
from vtune.data.convert import to_array, to_rows
from vtune.data.own import _aligned_copy as aligned

X = np.arange(24, dtype=np.float32).reshape(8, 3)
Y = np.arange(8) % 2


def held(value):
    return np.asarray(vt.holdout({"x": value}).arrays["x"])


class Unsupported(Tensor):
    """As PyTorch's of a type that NumPy does not have."""

    def cpu(self):
        raise TypeError("Got unsupported ScalarType BFloat16")


CONVERTED = {
    "big-endian": X.astype(">f4"),
    "long double": X.astype(np.longdouble),
    "list": X.tolist(),
    "rows": tuple(X),  # as zip(*samples) makes them
    "jax": jnp.asarray(X),
    "objects": X.astype(object),
    "object rows": pd.Series(list(X)),
    "nothing masked": np.ma.array(X),
    "frame": pd.DataFrame(X),
    "nullable": pd.DataFrame(X).astype("Float32"),
    "nullable integers": pd.DataFrame(X).astype("Int32"),
    "sparse frame": pd.DataFrame(X).astype(pd.SparseDtype("float32")),
    "mixed frame": pd.DataFrame(X).astype({0: "Int64", 1: "float64"}),
    "tensor": Tensor(X),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_arrays_of_many_kinds_are_converted(kind):
    np.testing.assert_array_equal(held(CONVERTED[kind]).astype(np.float32), X)


def test_columns_of_one_kind_keep_it():
    assert held(pd.Series(Y).astype("Int32")).dtype == np.int32
    assert held(pd.Series(Y == 1).astype("boolean")).dtype == np.bool_
    assert held(pd.DataFrame({"a": Y, "b": Y == 1})).dtype == np.int32
    assert held(X.astype(ml_dtypes.bfloat16)).dtype == ml_dtypes.bfloat16


class LazyFrame:
    pass


REFUSED = {
    "bfloat16": (
        Unsupported(X),
        TypeError,
        r"'x': Unsupported cannot .*BFloat16\); write x.float\(\)",
    ),
    "dict": (
        {"ids": X, "mask": X},
        TypeError,
        "'x' is a dict, and entries are arrays; give each of its own entries, 'ids', 'mask', a",
    ),
    "masked": (np.ma.array(X, mask=X > 3), TypeError, r"'x' is a masked array, .* x.filled\(0\)"),
    "sparse": (sparse.csr_matrix(X), TypeError, r"'x' is sparse \(csr_matrix\); write x.toarray"),
    "lazy": (LazyFrame(), TypeError, r"'x' is a LazyFrame, .*; write x.collect\(\)"),
    "ragged": ([[1.0], [1.0, 2.0]], ValueError, r"'x' holds rows of different shapes, such as \[1"),
    "ragged inputs": ((X, X[:, :2]), ValueError, r"'x' holds rows .*several inputs are several"),
    "strings": (["a"] * 8, TypeError, r"entry 'x' is of type <U1; .*names, y = numpy.unique\("),
    "numbers as strings": (["1"] * 8, TypeError, r"entry 'x' is of type <U1"),
    "none": ([1, None] * 4, ValueError, r"'x' has 4 missing values; fill or drop"),
    "generator": ((i for i in range(8)), TypeError, r"'x' is of the type generator"),
    "dates": (np.arange(8).astype("M8[D]"), TypeError, r"'x' is of type datetime64"),
    "text column": (
        pd.DataFrame({"age": Y, "city": ["a"] * 8}),
        TypeError,
        r"'x': column 'city' is of type (str|object); entries are numbers .* vt.Columns",
    ),
    "missing": (
        pd.DataFrame({"a": pd.array([True, None] * 4, "boolean")}),
        ValueError,
        r"'x': column 'a' has 4 missing values",
    ),
    "no columns": (X[:, :0], ValueError, r"'x' has shape \[8, 0\], so its rows hold nothing"),
    "number": (3.0, ValueError, r"'x' is a single number"),
    "too large": (
        X.astype(float) + 1e39,
        ValueError,
        r"'x' holds 24 numbers beyond float32, whose largest is 3.4e\+38, such as 1e\+39",
    ),
    "1e300": ([1.0, 1e300], ValueError, r"'x' holds 1 numbers beyond float32"),
    "infinite": ([1.0, np.inf], ValueError, r"'x' holds 1 NaN or infinite values"),
    "spans": (np.zeros(4, "m8[s]"), TypeError, r"entry 'x' is of type timedelta64\[s\]"),
    "column of spans": (
        pd.DataFrame({"a": pd.to_timedelta([1, 2, 3, 4], "s"), "b": 1.0}),
        TypeError,
        r"'x': column 'a' is of type timedelta64",
    ),
    "intervals": (pd.Series(pd.interval_range(0, 4)), TypeError, r"'x' is of type interval"),
    "None in a column": (
        pd.Series([1, None, 2, 3], dtype=object),
        ValueError,
        r"'x' has 1 missing values; fill or drop them first, as with vt.Columns",
    ),
    "complex NaN": (np.array([np.nan + 1j, 1]), ValueError, r"'x' holds 1 NaN or infinite values"),
    "keys": (jax.random.split(jax.random.key(0), 3), TypeError, r"'x': PRNGKeyArray cannot be"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_array_is_named(kind):
    value, error, says = REFUSED[kind]
    with pytest.raises(error, match=says):
        vt.holdout({"x": value})


@pytest.mark.parametrize("value", [lambda x: x, lambda x: [x, x]], ids=["array", "list"])
def test_what_is_traced_is_named(value):
    with pytest.raises(TypeError, match=r"holdout: called in a function that JAX traces"):
        jax.eval_shape(lambda x: vt.holdout({"x": value(x)}).arrays, X)


def test_a_tuple_of_inputs_is_named():
    with pytest.raises(ValueError, match=r"'x' is a tuple of 2 arrays: give each a name"):
        vt.holdout({"x": (X, X), "y": Y})


def test_libraries_that_may_be_there():
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for value in (pl.DataFrame(X), pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 3)):
        np.testing.assert_array_equal(np.stack(list(held(value))), X)
    np.testing.assert_array_equal(held(pd.DataFrame(X).astype("float32[pyarrow]")), X)
    np.testing.assert_array_equal(held(pl.Series(Y)), Y)
    for value, says in [
        (pl.DataFrame(X).lazy(), "is a LazyFrame"),
        (pl.DataFrame({"a": Y, "b": ["u"] * 8}), "column 'b' is of type String"),
        (pl.Series([1, None] * 4), "holds 4 NaN|missing"),
    ]:
        with pytest.raises((TypeError, ValueError), match=says):
            held(value)


def test_new_rows_take_the_type_of_training():
    rows = lambda value, trained: to_rows("predict", "x", value, trained)
    assert rows(X.astype(">f4"), "float32").dtype == np.float32
    assert rows(X.astype(int), "float32").dtype == np.float64  # scaled before it is cast
    assert rows(Y.astype(float), "int32").dtype == np.int32
    assert rows(Y, "uint8").dtype == np.uint8
    assert rows(Y, "bool").dtype == np.bool_
    for value, trained, says in [
        (
            X + 0.5,
            "int32",
            r"'x' holds numbers that are not whole, such as 0.5; in training it was",
        ),
        (Y - 1, "uint8", r"'x' goes from -1 to 0, beyond uint8"),
        (Y + 1, "bool", r"'x' goes from 1 to 2, beyond bool"),
        ([["a"]], "float32", r"'x' is of type <U1"),
        (X * 1j, "float32", r"'x' holds complex numbers; in training it was float32"),
    ]:
        with pytest.raises((TypeError, ValueError), match=says):
            rows(value, trained)
    np.testing.assert_array_equal(to_array("predict", "x", X), X)


MAKERS = {
    "holdout": lambda a: vt.holdout(a),
    "from_splits": lambda a: vt.from_splits(a, a),
    "kfold": lambda a: vt.kfold(a, k=2),
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, ml_dtypes.bfloat16])
def test_later_writes_do_not_reach_the_data(make, dtype):
    mine = aligned(np.ones((64, 16), dtype))
    read_only = mine[:]
    read_only.flags.writeable = False
    entries = {"x": mine, "view": read_only, "jax": jax.device_put(mine), "frame": mine.T.T}
    data = MAKERS[make](entries)
    mine[...] = 7
    for name in entries:
        assert np.all(np.asarray(data.arrays[name]) == 1), name


def test_nothing_is_copied_twice(monkeypatch, tmp_path):
    copied = []
    counting = lambda a: copied.append(a.shape) or aligned(a)
    monkeypatch.setattr(own, "_aligned_copy", counting)
    mine = aligned(np.ones((64, 16), np.float32))
    data = vt.holdout({"x": mine, "wide": aligned(mine.astype(np.float64)), "list": mine.tolist()})
    assert copied == [(64, 16)]
    again = aligned(mine)
    assert np.may_share_memory(np.asarray(jax.device_put(again)), again)
    assert data.arrays["wide"].dtype == np.float32
    mine.tofile(tmp_path / "x")
    for mode, copies in (("r", 1), ("c", 2), ("r+", 3)):  # of a file that only others may write
        file = np.memmap(tmp_path / "x", np.float32, mode, shape=(64, 16))
        vt.holdout({"x": file})
        assert len(copied) == copies
