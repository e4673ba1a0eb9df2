"""Hyperparameters as axes: where every member stands, on which scale, between which ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vtune.metrics.modes import nearest
from vtune.plots.canvas import plain
from vtune.plots.scores import Scores
from vtune.results.member import printable
from vtune.results.sweep import Sweep
from vtune.space.distributions import Categorical, Float, Int, Ordinal
from vtune.space.space import Space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 12  # panels of one figure
ABSENT: Any = object()


@dataclass(frozen=True, eq=False)
class Hyperparameter:
    """One hyperparameter of a sweep.

    Attributes:
      name: its name.
      at: [members] where each member stands: the value; for choices the choice's number; NaN
        where a member has no such hyperparameter.
      log: whether its scale is logarithmic.
      range: the lowest and the highest value that the space allows; None for choices.
      choices: their names in order; None for numbers.
    """

    name: str
    at: np.ndarray
    log: bool = False
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """Where the axis begins and ends: the range, or half a step around the choices."""
        if self.range is not None:
            return self.range
        return -0.5, len(self.choices or ()) - 0.5

    def unit(self, values: np.ndarray) -> np.ndarray:
        """Places values on the scale, from 0 at one end to 1 at the other."""
        low, high = self.ends
        scale = np.log if self.log else np.asarray
        width = scale(high) - scale(low)
        return (scale(values) - scale(low)) / width if width > 0 else np.full(np.shape(values), 0.5)

    def bounds(self, buckets: int) -> np.ndarray:
        """Returns the bounds, [buckets + 1], of equal parts of the scale.

        Choices have one each, and so have the values of a grid, if they are no more than buckets.
        """
        low, high = self.ends
        if self.choices is not None:
            return np.arange(len(self.choices) + 1) - 0.5
        if low == high:  # one bucket, that can be seen
            return np.array([low / 2, low * 2] if self.log else [low - 0.5, low + 0.5])
        values, count = np.unique(self.at[~np.isnan(self.at)]), len(self.at)
        if 1 < len(values) <= min(buckets, count / 2):
            middles = (
                np.sqrt(values[1:] * values[:-1]) if self.log else (values[1:] + values[:-1]) / 2
            )
            return np.array([low, *middles, high])
        return (
            np.geomspace(low, high, buckets + 1)
            if self.log
            else np.linspace(low, high, buckets + 1)
        )

    def bucket(self, buckets: int) -> np.ndarray:
        """Returns [members] the number of the bucket that each member is in; -1 without a value."""
        bounds = self.unit(self.bounds(buckets)[1:-1])
        near = 1e-6  # values of a grid may lie on bounds, in float32
        place = self.unit(np.where(np.isnan(self.at), self.ends[0], self.at))
        inside = np.searchsorted(bounds, place + near, side="right")
        return np.where(np.isnan(self.at), -1, inside)

    def jittered(self) -> np.ndarray:
        """Returns [members] positions: numbers as they are, choices spread a little."""
        if self.choices is None:
            return self.at
        return self.at + (np.arange(len(self.at)) * 0.618034 % 1 - 0.5) * 0.5

    def draw_axis(self, axes: Axes, along: str = "x") -> None:
        """Sets label, scale, ticks and limits of an axis, and draws the ends of the range."""
        from vtune.plots.marks import edges

        side = axes.xaxis if along == "x" else axes.yaxis
        limit = axes.set_xlim if along == "x" else axes.set_ylim
        side.set_label_text(plain(self.name))
        low, high = self.ends
        if self.choices is not None:
            side.set_ticks(range(len(self.choices)), self.choices)
            if along == "x" and sum(map(len, self.choices)) > 32:
                axes.tick_params(axis="x", rotation=30)
            limit(low, high)
            return
        edges(axes, low, high, along)
        if self.log:
            (axes.set_xscale if along == "x" else axes.set_yscale)("log")
            room = (high / low) ** 0.05 if high > low else 2.0
            limit(low / room, high * room)
            _few_ticks(side, low / room, high * room)
        else:
            room = 0.05 * (high - low) or 0.5
            limit(low - room, high + room)


def _few_ticks(side: Any, low: float, high: float) -> None:
    """Writes plain numbers on a logarithmic axis of about a decade or less.

    matplotlib's own labels, such as 2 × 10⁻³ at each tick, run into each other there.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if high / low <= 30:
        near = MaxNLocator(4) if high / low < 4 else LogLocator(subs=(1, 2, 5))
        side.set_major_locator(near)
        side.set_minor_locator(NullLocator())
        side.set_major_formatter(lambda value, _: f"{value:g}")


def hyperparameter(sweep: Sweep, name: str, scores: Scores) -> Hyperparameter:
    """Returns one hyperparameter with every member's value, that of the round of its best score.

    A refiner may have changed it since. Members without a score stand where they ended.
    """
    declared = [part[name] for part in sweep.space.parts if name in part]
    values = _values(sweep, name, scores)
    if all(_is_number(one) for one in declared):
        lows, highs = zip(*(_ends(one) for one in declared), strict=True)
        log = any(getattr(one, "log", False) for one in declared) and min(lows) > 0
        at = np.array([np.nan if value is ABSENT else float(value) for value in values])
        return Hyperparameter(name, at, log, (min(lows), max(highs)))
    labels = list(dict.fromkeys(label for one in declared for label in _choices(one)))
    shown = tuple(dict.fromkeys(plain(label, 24) for label in labels))
    if len(shown) < len(labels):  # cut to the same: told apart by their number
        shown = tuple(f"{plain(label, 18)} {i}" for i, label in enumerate(labels))
    number = {label: i for i, label in enumerate(labels)}
    exact = [one for one in declared if isinstance(one, Ordinal)]
    at = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value is not ABSENT:
            value = exact[0].report(value) if exact and isinstance(value, float) else value
            at[i] = number.get(_text(value), np.nan)
    return Hyperparameter(name, at, choices=shown)


def scale_of(space: Space, name: str) -> Hyperparameter:
    """Returns a traced hyperparameter's scale, without members; an `Ordinal` is numbers here."""
    ends, logs = [], []
    for part in space.parts:
        if name in part:
            one = part[name]
            if isinstance(one, Ordinal):
                ends.append((float(min(one.values)), float(max(one.values))))
                logs.append(ends[-1][0] > 0 and ends[-1][1] >= 100 * ends[-1][0])
            elif isinstance(one, Float | Int):
                ends.append(_ends(one))
                logs.append(bool(one.log))
    lows, highs = zip(*ends, strict=True)
    return Hyperparameter(name, np.empty(0), any(logs) and min(lows) > 0, (min(lows), max(highs)))


def varying(space: Space) -> tuple[str, ...]:
    """Returns the names of the hyperparameters that a space does not fix."""
    names = []
    for name in space.names:
        declared = [part.get(name, ABSENT) for part in space.parts]
        drawn = any(isinstance(one, Float | Int | Ordinal | Categorical) for one in declared)
        if drawn or len({_text(one) for one in declared}) > 1:
            names.append(name)
    return tuple(names)


def check_name(caller: str, sweep: Sweep, name: Any) -> str:
    """Returns the name of a hyperparameter.

    Raises:
      ValueError: there is none of this name.
    """
    known = list(sweep.space.names)
    if isinstance(name, str) and name in known:
        return name
    near = nearest(name, known) if isinstance(name, str) else None
    raise ValueError(
        f"plots.{caller}: {name!r} is not one of the hyperparameters {known}"
        + (f"; did you mean {near!r}?" if near else "")
    )


def chosen(
    caller: str, sweep: Sweep, names: str | Sequence[str] | None, scores: Scores
) -> tuple[list[Hyperparameter], str]:
    """Returns the hyperparameters to draw, and what is said where some are left out.

    Args:
      names: those that the user names; None for all that vary, the `MOST` that scores depend on
        most where there are more.

    Raises:
      ValueError: an unknown name, or nothing varies.
    """
    if names is not None:
        listed = [names] if isinstance(names, str) else list(names)
        if not listed:
            raise ValueError(
                f"plots.{caller}: names= is empty; leave it out for all hyperparameters"
            )
        return [hyperparameter(sweep, check_name(caller, sweep, n), scores) for n in listed], ""
    found = [hyperparameter(sweep, name, scores) for name in varying(sweep.space)]
    if not found:
        raise ValueError(
            f"plots.{caller}: all hyperparameters are fixed ({list(sweep.space.names)}); "
            "plots.curves draws a sweep without any"
        )
    if len(found) <= MOST:
        return found, ""
    weights = [dependence(one, scores.worth) for one in found]
    kept = sorted(np.argsort(weights, kind="stable")[::-1][:MOST])
    said = f"{MOST} of {len(found)} hyperparameters, those that scores depend on most"
    return [found[i] for i in kept], said


def dependence(one: Hyperparameter, worth: np.ndarray, buckets: int = 8) -> float:
    """Returns how much of the spread of the scores' ranks a hyperparameter explains, in [0, 1].

    The correlation ratio epsilon squared (Kelley 1935) over buckets of its scale, so 0 is expected
    where it does not matter.

    Args:
      worth: [members] higher is better, -inf for those that failed.
    """
    inside = one.bucket(buckets)
    there = inside >= 0
    groups, ranks = inside[there], _ranks(worth[there])
    parts = [ranks[groups == number] for number in np.unique(groups)]
    total = float(np.sum((ranks - ranks.mean()) ** 2)) if ranks.size else 0.0
    free = ranks.size - len(parts)
    if total == 0 or free <= 0 or len(parts) < 2:
        return 0.0
    within = float(sum(np.sum((part - part.mean()) ** 2) for part in parts))
    return float(np.clip(1 - (within / free) / (total / (ranks.size - 1)), 0, 1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]


def _values(sweep: Sweep, name: str, scores: Scores) -> list[Any]:
    """By member, the value of a hyperparameter; `ABSENT` without it."""
    trained = sweep.trained
    rounds = np.where(scores.best_round >= 0, scores.best_round, trained.lived - 1)
    lived = sweep.settings.get(name)
    values: list[Any] = []
    for column, (cohort, _) in enumerate(trained.places):
        combination = trained.cohorts[cohort].combination
        if name in combination.traced and lived is not None:
            values.append(float(lived[max(int(rounds[column]), 0), column]))
        else:
            values.append(combination.static.get(name, ABSENT))
    return values


def _is_number(declared: Any) -> bool:
    """Whether values lie on a scale. An `Ordinal` is choices: they may be unevenly far apart."""
    if isinstance(declared, bool):
        return False
    return isinstance(declared, Float | Int | int | float | np.number)


def _ends(declared: Any) -> tuple[float, float]:
    if isinstance(declared, Float | Int):
        return float(declared.low), float(declared.high)
    return float(declared), float(declared)


def _choices(declared: Any) -> list[str]:
    if isinstance(declared, Categorical):
        return [_text(choice) for choice in declared.choices]
    if isinstance(declared, Ordinal):
        return [_text(value) for value in declared.values]
    if isinstance(declared, Int):
        return [_text(value) for value in range(declared.low, declared.high + 1, declared.step)]
    return [] if isinstance(declared, Float) else [_text(declared)]


def _text(value: Any) -> str:
    value = printable(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
