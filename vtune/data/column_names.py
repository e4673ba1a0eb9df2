"""The names of a data frame's columns, which arrays lose and predictions need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def named_columns(frame: Any) -> Any:
    """Returns what a frame gives as the names of its columns; None where it has none."""
    names = getattr(frame, "column_names", None)  # of pyarrow's tables, whose `columns` are arrays
    return names if isinstance(names, list) else getattr(frame, "columns", None)


def columns_of(value: Any) -> tuple[str, ...] | None:
    """Returns the names of a frame's columns; None for anything else, or names that are no text."""
    names = named_columns(value)
    if names is None or callable(names) or isinstance(names, str):
        return None
    listed = tuple(names)
    return listed if listed and all(isinstance(name, str) for name in listed) else None


def column_names(arrays: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Returns the columns of every entry that is a frame."""
    named = {name: columns_of(value) for name, value in arrays.items()}
    return {name: columns for name, columns in named.items() if columns is not None}


def check_columns(who: str, name: str, known: Sequence[str], given: Any) -> None:
    """Raises ValueError where a frame has other columns, or has them in another order.

    Args:
      known: the columns in training. given: of the frame; None where it is no frame.
    """
    if given is None or tuple(given) == tuple(known):
        return
    missing = [column for column in known if column not in given]
    unknown = [column for column in given if column not in known]
    if missing or unknown:
        parts = (("lacks", missing), ("also has", unknown))
        what = " and ".join(f"{verb} {columns}" for verb, columns in parts if columns)
        raise ValueError(
            f"{who}: the frame {name!r} {what}; give the columns {list(known)} in this order"
        )
    raise ValueError(
        f"{who}: the frame {name!r} has its columns in another order than in training; give "
        f"frame[{list(known)}]"
    )
