"""Ratings of items by users: MovieLens' files, what is held out, and ids that do not fit.

GroupLens (grouplens.org) gives MovieLens to everyone and forbids passing it on (Harper and Konstan
2015), so none of it is here. Three forms are read:

    u.data         100K: user, item, rating, timestamp, with tabs between
    ratings.dat    1M, 10M: the same with :: between
    ratings.csv    20M and later: the same with commas, under a header
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

NAMES = ("u.data", "ratings.dat", "ratings.csv")
HEADER = "userId,movieId,rating,timestamp"
FIELDS = ("user", "item", "rating", "timestamp")
BEFORE = 4_102_444_800  # the year 2100; a timestamp in milliseconds is later


class Ratings(NamedTuple):
    """Who rated what, and how.

    Attributes:
      user, item: [ratings] int32, numbered from 0.
      rating: [ratings] float32. time: [ratings] int64, seconds since 1970.
      users, items: the ids of the file, by number.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray
    users: np.ndarray
    items: np.ndarray

    def rows(self, chosen: np.ndarray) -> Ratings:
        """Returns some of the ratings, under the same numbers."""
        parts = (part[chosen] for part in self[:4])
        return Ratings(*parts, self.users, self.items)


class Split(NamedTuple):
    """Which ratings train, choose and test: indices."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def read(path: Path) -> Ratings:
    """Reads a file of ratings in one of MovieLens' forms, which its first line tells apart.

    Args:
      path: the file, or a folder with one of `NAMES`.

    Raises:
      ValueError: there is no such file, or a line does not hold what it should: the message has
        its number, and what was found.
    """
    file = _file(path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no text; unpack it first, and give one of {NAMES}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{file} is empty")
    between, skipped = _form(file, lines[0])
    if len(lines) == skipped:
        raise ValueError(f"{file} has a header and no ratings")
    columns = _columns(file, lines, between, skipped)
    line = lambda row: f"{file}, line {row + 1 + skipped}: {lines[row + skipped]!r}"
    _check(columns, line)
    (users, user), (items, item) = (
        np.unique(columns[name], return_inverse=True) for name in ("user", "item")
    )
    _check_once(user, item, line)
    return Ratings(
        user.astype(np.int32),
        item.astype(np.int32),
        columns["rating"].astype(np.float32),
        columns["timestamp"].astype(np.int64),
        users.astype(np.int64),
        items.astype(np.int64),
    )


def held_out(ratings: Ratings, fraction: float, seed: int) -> Split:
    """Holds out a random part of the ratings to choose by, and another as large to test.

    Ratings whose user or item would have none to train on stay in training, since nothing can be
    learned of them.

    Args:
      fraction: of each, above 0 and below a half.
    """
    count = len(ratings.user)
    order = np.random.default_rng(seed).permutation(count)
    held = round(fraction * count)
    train = np.zeros(count, bool)
    train[order[2 * held :]] = True
    of_user, of_item = (np.bincount(part[train], minlength=1 + part.max()) for part in ratings[:2])
    for row in order[: 2 * held]:
        user, item = ratings.user[row], ratings.item[row]
        if not (of_user[user] and of_item[item]):
            train[row] = True
            of_user[user] += 1
            of_item[item] += 1
    valid, test = (np.sort(part[~train[part]]) for part in (order[:held], order[held : 2 * held]))
    return Split(np.flatnonzero(train), valid, test)


def check_ids(what: str, ids: np.ndarray, count: int, trained: np.ndarray) -> None:
    """Checks that ids are among those that a model has, and has learned something of.

    Args:
      what: they are, as the message names it, such as "users held out".
      count: ids are 0 to count - 1. trained: the ids that are trained on.

    Raises:
      ValueError: some are negative, too large, or are not trained on.
    """
    ids = np.unique(ids)
    seen = np.zeros(count, bool)
    for name, given in (("training", np.unique(trained)), (what, ids)):
        if given.size and given[0] < 0:
            raise ValueError(f"{name}: negative ids, {_some_of(given[given < 0])}; count from 0")
        if given.size and given[-1] >= count:
            raise ValueError(
                f"{name}: ids out of range, {_some_of(given[given >= count])}; there are {count}, "
                f"0 to {count - 1}"
            )
        if name == "training":
            seen[given] = True
    unseen = ids[~seen[ids]]
    if unseen.size:
        raise ValueError(
            f"{what}: ids that training has not, {_some_of(unseen)}; nothing is learned of them: "
            "leave their rows out, or move them to training"
        )


def _some_of(ids: np.ndarray) -> str:
    shown = ", ".join(map(str, ids[:5].tolist()))
    return f"{len(ids)} of them: {shown}{', ...' if len(ids) > 5 else ''}"


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    found = [path / name for name in NAMES if (path / name).is_file()]
    if not found:
        raise ValueError(f"no file of ratings at {path}: give one, or a folder with one of {NAMES}")
    return found[0]


def _form(file: Path, first: str) -> tuple[str, int]:
    """Returns what stands between the fields, and how many lines are a header."""
    if first.strip().lower() == HEADER.lower():
        return ",", 1
    for between in ("::", "\t"):
        if between in first:
            return between, 0
    raise ValueError(
        f"{file}, line 1: {first!r} is none of MovieLens' forms: four fields with tabs or :: "
        f"between, or the header {HEADER!r}"
    )


def _columns(file: Path, lines: list[str], between: str, skipped: int) -> dict[str, np.ndarray]:
    """Returns the fields by name, as real numbers."""
    plain = lines[skipped:]
    if len(between) > 1:
        plain = [line.replace(between, "\t") for line in plain]
    mark = between if len(between) == 1 else "\t"
    try:
        table = np.loadtxt(plain, np.float64, comments=None, delimiter=mark, ndmin=2)
    except ValueError:
        table = None
    if table is None or table.shape != (len(plain), len(FIELDS)):
        raise ValueError(_wrong_line(file, lines, between, skipped))
    return dict(zip(FIELDS, table.T, strict=True))


def _wrong_line(file: Path, lines: list[str], between: str, skipped: int) -> str:
    for number, line in enumerate(lines[skipped:], 1 + skipped):
        at, parts = f"{file}, line {number}: {line!r}", line.split(between)
        if len(parts) != len(FIELDS):
            return f"{at} has {len(parts)} fields, and {', '.join(FIELDS)} are {len(FIELDS)}"
        for name, part in zip(FIELDS, parts, strict=True):
            try:
                float(part)
            except ValueError:
                return f"{at}: the {name} is {part!r}, and must be a number"
    return f"{file} cannot be read"


def _check(columns: dict[str, np.ndarray], line: Callable[[int], str]) -> None:
    whole = lambda values: np.isfinite(values) & (values == np.floor(values))
    rules = {
        "user": (lambda v: whole(v) & (v >= 0) & (v < 2**53), "a whole number, 0 or more"),
        "item": (lambda v: whole(v) & (v >= 0) & (v < 2**53), "a whole number, 0 or more"),
        "rating": (lambda v: whole(2 * v) & (v >= 0.5) & (v <= 5), "0.5 to 5, in halves"),
        "timestamp": (
            lambda v: whole(v) & (v > 0) & (v < BEFORE),
            "whole seconds since 1970, before the year 2100",
        ),
    }
    for name, (allowed, rule) in rules.items():
        wrong = np.flatnonzero(~allowed(columns[name]))
        if wrong.size:
            found = columns[name][wrong[0]]
            raise ValueError(f"{line(wrong[0])}: the {name} is {found:.15g}, and must be {rule}")


def _check_once(user: np.ndarray, item: np.ndarray, line: Callable[[int], str]) -> None:
    pair = user.astype(np.int64) * (1 + int(item.max())) + item
    order = np.argsort(pair, kind="stable")
    again = np.flatnonzero(pair[order][1:] == pair[order][:-1])
    if again.size:
        first, second = order[again[0]], order[again[0] + 1]
        raise ValueError(f"{line(second)} rates again what was rated in {line(first)}")
