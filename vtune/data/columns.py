"""Tables as arrays: numbers with missing values filled, categories as codes for embeddings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from vtune.data.column_names import named_columns

_FILLINGS = ("median", "mean", "most_frequent")
_MISSING, _UNKNOWN = -2, -1  # what scikit-learn's encoder is asked to write
_LISTINGS = ("tolist", "to_list", "to_pylist")  # of NumPy and pandas, of polars, of pyarrow


class Columns:
    """Turns the columns of a table into arrays, and those of new rows in the same way.

        columns = vt.Columns(numeric=["age", "income"], categorical=["city"]).fit(frame)
        data = vt.holdout({**columns.transform(frame), "y": labels})
        sweep.predict(columns.transform(new_frame))

    The model takes `numeric` and `categorical`, and makes an embedding of
    `columns.cardinalities[i]` rows for `categorical[:, i]`. Columns are found by name, in any
    order; others are ignored.

    To look at training rows only, draw them first. `holdout` draws the same rows for the same
    number of rows, fraction, seed and labels:

        train = vt.holdout({"y": labels}, seed=0).train
        columns = vt.Columns(numeric=[...]).fit(frame, rows=train)
        data = vt.holdout({**columns.transform(frame), "y": labels}, seed=0)

    Args:
      numeric: names of columns of numbers. Missing values are filled, and a column that had some in
        `fit` has another one that is 1 where they were (scikit-learn's `SimpleImputer`).
      categorical: names of columns of categories. Missing values are a category of their own where
        `fit` saw some (scikit-learn's `OrdinalEncoder`).
      missing: what fills numbers: "median", "mean" or "most_frequent" of the rows of `fit`.
      unknown: what becomes of a category that `fit` did not see: "encode" gives it code 0, which no
        other has; "error" refuses it.

    Raises:
      TypeError, ValueError: no column is named, or one twice; or another argument is not allowed.
    """

    def __init__(
        self,
        numeric: Sequence[str] = (),
        categorical: Sequence[str] = (),
        *,
        missing: str = "median",
        unknown: str = "encode",
    ):
        for what, names in (("numeric", numeric), ("categorical", categorical)):
            listed = isinstance(names, Sequence) and not isinstance(names, str)
            if not listed or not all(isinstance(name, Hashable) for name in names):
                raise TypeError(f"Columns: {what}={names!r} must be a list of names")
        both = [*numeric, *categorical]
        if not both:
            raise ValueError('Columns: name the columns, such as vt.Columns(numeric=["age"])')
        twice = sorted({name for name in both if both.count(name) > 1})
        if twice:
            raise ValueError(f"Columns: {twice[0]!r} is named twice")
        if missing not in _FILLINGS:
            raise ValueError(f"Columns: missing={missing!r} must be one of {list(_FILLINGS)}")
        if unknown not in ("encode", "error"):
            raise ValueError(f'Columns: unknown={unknown!r} must be "encode" or "error"')
        self.numeric, self.categorical = tuple(numeric), tuple(categorical)
        self.missing, self.unknown = missing, unknown
        self._imputer: Any = None
        self._encoder: Any = None

    def fit(self, frame: Any, rows: Any = None) -> Columns:
        """Learns fillings and categories from a table and returns the object.

        Args:
          frame: of pandas or polars, or a dict of columns.
          rows: indices of the rows to look at; all when left out.

        Raises:
          TypeError, ValueError: a column is not there, or holds something else than is said.
          ImportError: scikit-learn is not installed (the extra `sklearn`).
        """
        try:
            from sklearn.impute import SimpleImputer
            from sklearn.preprocessing import OrdinalEncoder
        except ImportError:
            raise ImportError("Columns needs scikit-learn: pip install 'vtune[sklearn]'") from None
        numbers, values = self._read("fit", frame)
        taken = _taken(rows, len(numbers))
        self._imputer = self._encoder = None
        if self.numeric:
            self._imputer = SimpleImputer(
                strategy=self.missing, add_indicator=True, keep_empty_features=True
            ).fit(numbers[taken])
        if self.categorical:
            encoder = OrdinalEncoder(
                handle_unknown="use_encoded_value",
                unknown_value=_UNKNOWN,
                encoded_missing_value=_MISSING,
                dtype=np.int64,
            )
            try:
                self._encoder = encoder.fit(values[taken])
            except TypeError:
                raise TypeError(
                    f"Columns.fit: a column of {list(self.categorical)} holds values that have no "
                    "order, such as text beside numbers; make them of one kind: "
                    "frame[name].astype(str)"
                ) from None
        return self

    def transform(self, frame: Any) -> dict[str, np.ndarray]:
        """Returns the arrays of a table, for `vt.holdout`, `vt.kfold` and `sweep.predict`.

        Returns:
          "numeric": float64 [rows, columns], named by `numeric_names`, so that `vt.standardize`
          scales them before they are cast. "categorical": int32 [rows, columns], codes from 1 on, 0
          for categories that `fit` did not see. Either is left out where it has no columns.

        Raises:
          TypeError, ValueError: as `fit`; `fit` was not called; or a category is new and
            unknown="error".
        """
        if self._imputer is None and self._encoder is None:
            raise ValueError("Columns.transform: call fit first, with the training rows")
        numbers, values = self._read("transform", frame)
        arrays = {}
        if self.numeric:
            arrays["numeric"] = np.asarray(self._imputer.transform(numbers), np.float64)
        if self.categorical:
            arrays["categorical"] = self._codes(values)
        return arrays

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """By categorical column, the number of codes: its categories, and 0 for unknown ones."""
        return tuple(len(found) + 1 for found in self.categories)

    @property
    def categories(self) -> tuple[list[Any], ...]:
        """By categorical column, its categories: that of code 1 first; None for missing values."""
        if self._encoder is None:
            return ()
        return tuple(found.tolist() for found in self._encoder.categories_)

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """The names of the numeric columns of `transform`; "a missing" is 1 where a was."""
        if self._imputer is None:
            return ()
        marked = [f"{self.numeric[i]} missing" for i in self._imputer.indicator_.features_]
        return (*self.numeric, *marked)

    def _codes(self, values: np.ndarray) -> np.ndarray:
        codes = self._encoder.transform(values)
        for i, (name, found) in enumerate(zip(self.categorical, self.categories, strict=True)):
            codes[:, i] = np.where(codes[:, i] == _MISSING, len(found) - 1, codes[:, i])
            new = np.flatnonzero(codes[:, i] == _UNKNOWN)
            if len(new) and self.unknown == "error":
                raise ValueError(
                    f"Columns.transform: {name!r} has {len(new)} rows of categories that fit did "
                    f'not see, such as {values[new[0], i]!r}; unknown="encode" gives them code 0'
                )
        return (codes + 1).astype(np.int32)

    def _read(self, who: str, frame: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns numbers [rows, numeric], NaN where missing, and values [rows, categorical]."""
        lazy = type(frame).__name__ == "LazyFrame"
        held = frame if isinstance(frame, Mapping) else None
        if held is None and not lazy:
            held = named_columns(frame)
        if held is None:
            raise TypeError(
                f"Columns.{who}: {type(frame).__name__} is no table; give a frame of pandas or "
                "polars (one that is not lazy), or a dict of columns"
            )
        columns = {}
        for name in (*self.numeric, *self.categorical):
            if name not in held:
                raise ValueError(f"Columns.{who}: no column {name!r}; the table has {list(held)}")
            columns[name] = _values(f"Columns.{who}: {name!r}", frame[name])
        lengths = {name: len(column) for name, column in columns.items()}
        rows = min(lengths.values())
        if rows != max(lengths.values()):
            raise ValueError(f"Columns.{who}: the columns have different lengths, {lengths}")
        if not rows:
            raise ValueError(f"Columns.{who}: the table has no rows")
        numbers = np.empty((rows, len(self.numeric)))
        values = np.empty((rows, len(self.categorical)), object)
        for i, name in enumerate(self.numeric):
            numbers[:, i] = _numbers(f"Columns.{who}: {name!r}", columns[name])
        for i, name in enumerate(self.categorical):
            values[:, i] = columns[name]
        return numbers, values


def _taken(rows: Any, count: int) -> np.ndarray:
    """Returns the rows to look at, of a table of `count` rows; all where `rows` is None."""
    every = np.arange(count)
    try:
        taken = every if rows is None else every[np.asarray(rows)]
    except IndexError:
        taken = every[:0]
    if taken.ndim != 1 or not len(taken):
        raise ValueError(
            f"Columns.fit: rows= must be indices of rows, one or more of 0 to {count - 1}"
        )
    return taken


def _numbers(what: str, column: list[Any]) -> np.ndarray:
    """Returns a column as float64, NaN where a value is missing."""
    values = [np.nan if value is None else value for value in column]
    if any(isinstance(value, str | bytes) for value in values):
        text = next(value for value in values if isinstance(value, str | bytes))
        raise TypeError(f"{what} holds {text!r}, which is no number; name it in categorical=")
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        kind = type(next(v for v in values if v is not np.nan)).__name__
        raise TypeError(
            f"{what} holds values of {kind}, which are no real numbers; give dates as numbers such "
            "as days"
        ) from None
    except OverflowError:
        raise ValueError(f"{what} holds numbers beyond float64; scale them") from None
    infinite = np.count_nonzero(np.isinf(array))
    if infinite:
        raise ValueError(
            f"{what} holds {infinite} infinite values; make them missing (NaN) or drop those rows"
        )
    return array


def _values(what: str, column: Any) -> list[Any]:
    """Returns a column as Python values, None where one is missing.

    A list is not made an array on the way, which would turn numbers beside text into text.
    """
    shape = getattr(column, "shape", (1,))
    listing = next((getattr(column, name) for name in _LISTINGS if hasattr(column, name)), None)
    if listing is None and isinstance(column, Sequence) and not isinstance(column, str | bytes):
        listing = column.__iter__
    if listing is None or len(shape) != 1:
        of = f" of shape {list(shape)} (have several columns that name?)" if len(shape) > 1 else ""
        raise TypeError(
            f"{what} must be one column, such as a list or an array [rows]; got "
            f"{type(column).__name__}{of}"
        )
    if isinstance(column, np.ndarray) and column.dtype.kind in "mM":
        listing = column.astype(f"{column.dtype.kind}8[us]").tolist  # nanoseconds become numbers
    values = [value.item() if isinstance(value, np.generic) else value for value in listing()]
    several = next((v for v in values if isinstance(v, list | tuple | dict | np.ndarray)), None)
    if several is not None:
        raise TypeError(f"{what} holds values of {type(several).__name__}; give one value a row")
    return [None if _is_missing(value) else value for value in values]


def _is_missing(value: Any) -> bool:
    # NaN and NaT differ from themselves; pandas' NA does not say whether it does
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
