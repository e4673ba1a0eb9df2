"""Tables as arrays: fillings and categories of some rows, applied to new ones."""

import pickle

import numpy as np
import pandas as pd
import pytest

import vtune as vt
from vtune.data.column_names import columns_of

FRAME = {
    "age": [20.0, np.nan, 40.0, 60.0],
    "income": [1, 2, 3, 4],
    "city": ["Rome", "Bern", None, "Rome"],
    "floor": [2, 1, 1, 2],
    "ignored": ["a"] * 4,
}
COLUMNS = {"numeric": ["age", "income"], "categorical": ["city", "floor"]}
NUMBERS = [[20, 1, 0], [40, 2, 1], [40, 3, 0], [60, 4, 0]]
CODES = [[2, 2], [1, 1], [3, 1], [2, 2]]


def frames():
    nullable = pd.DataFrame(FRAME).astype({"age": "Float64", "income": "Int64", "city": "string"})
    return {
        "dict": FRAME,
        "pandas": pd.DataFrame(FRAME),
        "nullable": nullable.astype({"city": "category"}),
        "reordered": pd.DataFrame(FRAME).iloc[:, ::-1],
        "lists": {
            "age": [20, pd.NA, np.float32(40), np.int8(60)],
            "income": range(1, 5),
            "city": ["Rome", "Bern", np.nan, np.str_("Rome")],
            "floor": np.ma.array([2, 1, 1, 2]),
        },
        "arrow": Arrow(FRAME),
    }


class Arrow:
    """What a pyarrow table is like: its `columns` are no names."""

    def __init__(self, columns):
        self.column_names, self.columns, self._of = list(columns), [*columns.values()], columns

    def __getitem__(self, name):
        return pd.Index(self._of[name])


@pytest.mark.parametrize("kind", frames())
def test_columns_become_numbers_and_codes(kind):
    columns = vt.Columns(**COLUMNS).fit(FRAME)
    assert vt.Columns(**COLUMNS).fit(frames()[kind]).categories == columns.categories
    made = columns.transform(frames()[kind])
    assert made["numeric"].tolist() == NUMBERS
    assert made["categorical"].tolist() == CODES
    assert (made["numeric"].dtype, made["categorical"].dtype) == (np.float64, np.int32)
    assert columns.numeric_names == ("age", "income", "age missing")
    assert columns.categories == (["Bern", "Rome", None], [1, 2])
    assert columns.cardinalities == (4, 3)
    assert pickle.loads(pickle.dumps(columns)).transform(FRAME)["categorical"].tolist() == CODES


def test_the_names_of_a_frame_are_text():
    named = pd.DataFrame({"column_names": ["a"], "y": [1]})
    assert columns_of(named) == ("column_names", "y")
    assert columns_of(Arrow(FRAME)) == tuple(FRAME)
    assert columns_of(pd.DataFrame([[1]])) is None


def fit_category(column):
    return vt.Columns(categorical=["x"]).fit({"x": column})


def test_polars_frames():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({**FRAME, "age": [20.0, None, 40.0, 60.0]})
    made = vt.Columns(**COLUMNS).fit(frame).transform(frame)
    assert made["numeric"].tolist() == NUMBERS
    assert made["categorical"].tolist() == CODES
    with pytest.raises(TypeError, match="not lazy"):
        vt.Columns(**COLUMNS).fit(frame.lazy())


def test_new_rows_are_coded_as_those_of_fit():
    """pandas' own codes of a frame in which a category is missing would be others."""
    columns = vt.Columns(**COLUMNS).fit(FRAME, rows=[0, 1, 3])
    new = {
        "age": [None, 1],
        "income": [np.nan, 2],
        "city": ["Oslo", "Rome"],
        "floor": [2.0, np.nan],
    }
    made = columns.transform(new)
    assert made["numeric"].tolist() == [[40, 2, 1], [1, 2, 0]]  # income: no mark, fit saw none
    assert made["categorical"].tolist() == [[0, 2], [2, 0]]
    assert columns.categories == (["Bern", "Rome"], [1, 2])
    strict = vt.Columns(**COLUMNS, unknown="error", missing="mean").fit(FRAME)
    assert strict.transform({**new, "city": ["Rome"] * 2, "floor": [1, 2]})["numeric"][0, 1] == 2.5
    with pytest.raises(
        ValueError, match=r"'city' has 1 rows of .* such as 'Oslo'; unknown=\"encode"
    ):
        strict.transform(new)
    only = vt.Columns(categorical=["city"]).fit(FRAME).transform(FRAME)
    assert list(only) == ["categorical"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: vt.Columns(), r"name the columns, such as vt.Columns\(numeric"),
        (lambda: vt.Columns("age"), r"numeric='age' must be a list of names"),
        (lambda: vt.Columns(["age"], ["age"]), r"'age' is named twice"),
        (lambda: vt.Columns(["age"], missing="zero"), r"missing='zero' must be one of \['median'"),
        (lambda: vt.Columns(["age"], unknown=0), r'unknown=0 must be "encode" or "error"'),
        (lambda: vt.Columns(["age"]).transform(FRAME), r"call fit first"),
        (lambda: vt.Columns(["size"]).fit(FRAME), r"fit: no column 'size'; the table has \['age'"),
        (lambda: vt.Columns(["age"]).fit(np.zeros((3, 2))), r"fit: ndarray is no table; give a"),
        (lambda: vt.Columns(["city"]).fit(FRAME), r"'city' holds 'Rome', which is no number; name"),
        (
            lambda: vt.Columns(["day"]).fit(pd.DataFrame({"day": pd.to_datetime(["2026-01-01"])})),
            r"'day' holds values of Timestamp, which are no real numbers; give dates",
        ),
        (
            lambda: vt.Columns(categorical=["x"]).fit({"x": pd.Series([1, "a"], dtype=object)}),
            r"a column of \['x'\] holds values that have no order, such as text beside",
        ),
        (lambda: fit_category(["a", 1.5, None]), r"a column of \['x'\] holds values that have no"),
        (lambda: fit_category([1j, 2j]), r"a column of \['x'\] holds values that have no order"),
        (lambda: vt.Columns([["age"]]), r"numeric=\[\['age'\]\] must be a list of names"),
        (lambda: vt.Columns(["x"]).fit({"x": [10**400]}), r"'x' holds numbers beyond float64"),
        (lambda: fit_category("abc"), r"'x' must be one column, such as a list .* got str$"),
        (lambda: fit_category({"a", "b"}), r"'x' must be one column, .* got set$"),
        (lambda: fit_category(3), r"'x' must be one column, .* got int$"),
        (lambda: fit_category(np.float32(3)), r"'x' must be one column, .* got float32$"),
        (lambda: fit_category([[1], [2]]), r"'x' holds values of list; give one value a row"),
        (lambda: fit_category(np.zeros((2, 2))), r"got ndarray of shape \[2, 2\]"),
        (
            lambda: vt.Columns(["x"]).fit(pd.DataFrame([[1, 2]], columns=["x", "x"])),
            r"got DataFrame of shape \[1, 2\] \(have several columns that name\?\)",
        ),
        (
            lambda: vt.Columns(["x"], ["y"]).fit({"x": [1, 2, 3], "y": ["q"]}),
            r"fit: the columns have different lengths, \{'x': 3, 'y': 1\}",
        ),
        (lambda: vt.Columns(["x"]).fit({"x": [1, np.inf, None]}), r"'x' holds 1 infinite values"),
        (
            lambda: vt.Columns(["x"]).fit({"x": np.array(["2026-01-01"], "M8[ns]")}),
            r"'x' holds values of datetime, which are no real numbers",
        ),
        (lambda: fit_category([]), r"fit: the table has no rows"),
        (lambda: vt.Columns(["age"]).fit(FRAME, rows=[]), r"rows= must be indices .* of 0 to 3"),
        (lambda: vt.Columns(["age"]).fit(FRAME, rows=[4]), r"rows= must be indices .* of 0 to 3"),
    ],
)
def test_wrong_columns_are_named(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()


def test_holdout_draws_the_same_rows_for_other_arrays():
    """So fillings, categories and vocabularies can be made of the training rows before."""
    labels = np.arange(50) % 3
    for options in ({}, {"stratify": "y"}, {"fraction": 0.4, "seed": 3}):
        first = vt.holdout({"y": labels}, **options)
        second = vt.holdout({"x": np.zeros((50, 2)), "y": labels}, **options)
        np.testing.assert_array_equal(first.train, second.train)


def test_numbers_are_scaled_before_they_are_cast():
    frame = {"when": 1.7e9 + np.arange(60.0)}
    made = vt.Columns(["when"]).fit(frame).transform(frame)
    data = vt.standardize(vt.holdout(made), "numeric")
    assert len(np.unique(data.arrays["numeric"])) == 60
