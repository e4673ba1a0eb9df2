"""`vt.compare`: the best members of several sweeps side by side, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vtune.aligned import aligned
from vtune.results.comparable import not_comparable, untested
from vtune.results.given_data import folds_of
from vtune.results.member import Member
from vtune.results.no_score import no_finite_score
from vtune.results.retrain import Retrained
from vtune.results.significance import paired_t_test, t_interval
from vtune.results.sweep import Sweep
from vtune.results.table import html_of, import_pandas, std_of_splits
from vtune.results.trained import Trained
from vtune.results.trainings import trainings_text, valid_to_train, values_of
from vtune.validation import is_number

if TYPE_CHECKING:
    import pandas


class Compared(NamedTuple):
    """The best member of one sweep; None where there is no such number.

    Attributes:
      name: of the sweep. member: its best member. metric, mode: what its members are compared by.
      mean, std: over folds and seeds (std divided by n, as in `sweep.table()`).
      low, high: of the confidence interval. interval: which one that is.
      trainings: what mean and std are over, such as "5 folds × 3 seeds".
      difference: the mean minus that of the sweep with the best mean. p: two-sided, of their
        difference. test: which test, or why there is none.
    """

    name: str
    member: int | None
    metric: str
    mode: str
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    interval: str
    trainings: str
    difference: float | None
    p: float | None
    test: str


class Comparison:
    """The best members of several sweeps, a row a sweep; prints as a table.

    Attributes:
      rows: a `Compared` by name of the sweep, in the order given. confidence: of the intervals.
      best: the name of the sweep that the others are tested against; None where none has a score.
      of_many: whether a sweep has several members, so that its best score is too good.
    """

    def __init__(
        self, rows: dict[str, Compared], confidence: float, best: str | None, of_many: bool = True
    ):
        self.rows = rows
        self.confidence = confidence
        self.best = best
        self.of_many = of_many

    @property
    def comparable(self) -> bool:
        """Whether all sweeps are of one metric and the same data."""
        return not any(row.test.startswith("not comparable") for row in self.rows.values())

    @property
    def verdict(self) -> str:
        """Whom the tests tell from the best, and whom not; empty where nobody was tested.

        They do where p is below 1 - confidence.
        """
        level = 1 - self.confidence
        tested = [(row.name, row.p) for row in self.rows.values() if row.p is not None]
        behind = ", ".join(name for name, p in tested if p < level)
        alike = ", ".join(name for name, p in tested if p >= level)
        better = [f"{self.best} is better than {behind} (p < {level:.2g})"] if behind else []
        even = (
            f"{self.best} and {alike} are not told apart (p ≥ {level:.2g}): more seeds might, or "
        )
        return ". ".join([*better, *([f"{even}take the cheaper"] if alike else [])])

    @property
    def frame(self) -> pandas.DataFrame:
        """The rows as a pandas DataFrame, by name.

        Raises:
          ImportError: pandas is not installed (the extra `plot`).
        """
        pandas = import_pandas("Comparison.frame")
        rows = [row._asdict() for row in self.rows.values()]
        return pandas.DataFrame(rows, columns=Compared._fields).set_index("name")

    def _repr_html_(self) -> str | None:
        return html_of(lambda: self.frame)

    def __repr__(self) -> str:
        head = ("", "mean ± std", f"{self.confidence:.0%} interval", "over", "member", "difference")
        rows = [head, *(_cells(row) for row in self.rows.values())]
        intervals = dict.fromkeys(row.interval for row in self.rows.values() if row.low is not None)
        said = [f"verdict: {self.verdict}"] if self.verdict else []
        said += [f"interval: {'; '.join(intervals)}"] if intervals else []
        warned = [_TOO_GOOD] if self.of_many else []
        return "\n".join([aligned(rows), *said, *warned])


_TOO_GOOD = (
    "The score of the best of many is on the whole too good: sweep.retrain(top=1, seeds=10).sweep "
    "has it afresh."
)
_NONE = {"mean": None, "std": None, "low": None, "high": None, "difference": None, "p": None}


def compare(sweeps: Mapping[str, Sweep], *, confidence: float = 0.95) -> Comparison:
    """Compares the best members of sweeps.

        print(vt.compare({"cnn": a, "mlp": b}))

    The interval of a mean is Student's t over the trainings of the member: over its seeds, or over
    its folds, of each the mean over the seeds. Folds share training rows, so their variance is
    corrected (Nadeau and Bengio 2003). A single training has no interval.

    Each sweep is tested against the one with the best mean. Sweeps over the same folds: the
    corrected resampled t-test (Nadeau and Bengio 2003) of the differences by fold. Sweeps with the
    same `seeds=` and `seed=` on the same split: the paired t-test by seed; it says what other
    weights and noise would give, and nothing of another split or order of rows. Else there is no
    test, and the column `test` says why. The p values are not corrected for how many there are, nor
    for that each member is the best of many, chosen by these scores: to be rid of that, compare
    `sweep.retrain(top=1, seeds=10).sweep`.

    Args:
      sweeps: by name, two or more; loaded ones and those of `vt.read` too.
      confidence: of the intervals, between 0 and 1.

    Returns:
      A table: print it, show it in a notebook, or take its `frame`.

    Raises:
      TypeError, ValueError: an argument cannot work.
    """
    trained = _checked(sweeps)
    if not is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(
            f"compare: confidence={confidence!r} must be a number between 0 and 1, such as 0.95"
        )
    columns = {
        name: None if no_finite_score(one) is not None else int(one.ranking[0])
        for name, one in trained.items()
    }
    best = _best(trained, columns)
    rows = {}
    for name, one in trained.items():
        row = _row(name, one, columns[name], float(confidence))
        if best is not None and columns[name] is not None:
            against = (trained[best], columns[best])
            row = _tested(row, (one, columns[name]), against, "the best" if name == best else None)
        rows[name] = row
    of_many = any(len(one.places) > 1 for one in trained.values())
    return Comparison(rows, float(confidence), best, of_many)


def _checked(sweeps: Any) -> dict[str, Trained]:
    """Returns the records of the sweeps by name."""
    if not isinstance(sweeps, Mapping):
        raise TypeError(
            f"compare: sweeps must be a dict of sweeps by name, got {type(sweeps).__name__}; write "
            'vt.compare({"cnn": a, "mlp": b})'
        )
    if len(sweeps) < 2:
        raise ValueError(
            f"compare: {len(sweeps)} sweep given; give two or more, such as "
            'vt.compare({"cnn": a, "mlp": b})'
        )
    for name, sweep in sweeps.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"compare: the name {name!r} must be a text that is not empty")
        if isinstance(sweep, Sweep):
            continue
        instead = "give what vt.tune, vt.load or vt.read returned"
        if isinstance(sweep, Retrained):
            instead = "give its .sweep"
        elif isinstance(sweep, Member):
            instead = "give the whole sweep"
        elif isinstance(sweep, str | bytes) or hasattr(sweep, "__fspath__"):
            instead = f"write vt.read({sweep!r})"
        raise TypeError(f"compare: {name!r} must be a sweep, got {type(sweep).__name__}; {instead}")
    return {name: sweep.trained for name, sweep in sweeps.items()}


def _best(trained: dict[str, Trained], columns: dict[str, int | None]) -> str | None:
    """Returns the name of the sweep with the best mean, of those that can be compared with the
    first that has one."""
    scored = {
        name: values_of(trained[name], c).mean() for name, c in columns.items() if c is not None
    }
    first = next(iter(scored), None)
    if first is None:
        return None
    like = [n for n in scored if n == first or not not_comparable(trained[n], trained[first])]
    return max(like, key=lambda name: trained[name].plan.sign * scored[name])


def _row(name: str, trained: Trained, column: int | None, confidence: float) -> Compared:
    """Returns what a sweep says by itself."""
    row = Compared(
        name=name,
        member=None,
        metric=trained.metric_name,
        mode=trained.plan.mode,
        interval="none",
        trainings=trainings_text(trained),
        test="no member has a finite score",
        **_NONE,
    )
    if column is None:
        return row
    values = values_of(trained, column)
    row = row._replace(member=Member(trained, column).index, mean=float(values.mean()))
    if values.size == 1:
        return row._replace(interval="none, of a single training")
    row = row._replace(std=float(std_of_splits(values)))
    units = by_unit(values)
    if len(units) == 1:
        return row._replace(interval="none, of a single fold")
    folded = folds_of(trained) is not None
    if units.min() == units.max():
        return row._replace(interval="none, all trainings are equal")
    low, high = t_interval(units, confidence, valid_to_train(trained) if folded else 0.0)
    which = f"Student's t over {len(units)} seeds"
    if folded:
        which = f"corrected resampled t over {len(units)} folds"
    return row._replace(low=low, high=high, interval=which)


def by_unit(values: np.ndarray) -> np.ndarray:
    """Returns what counts once: the mean of each fold over its seeds, or without folds each seed.

    Args:
      values: [folds, seeds].
    """
    return values.mean(axis=1) if len(values) > 1 else values[0]


def _tested(row: Compared, own: Any, best: Any, name: str | None) -> Compared:
    """Returns a row with its difference from the best and the test of it.

    Args:
      own, best: (record, column). name: what is said of the best itself.
    """
    if name is not None:
        return row._replace(difference=0.0, test=name)
    (trained, column), (other, other_column) = own, best
    reason = not_comparable(trained, other)
    if reason is not None:
        return row._replace(test=f"not comparable: {reason}")
    values, others = values_of(trained, column), values_of(other, other_column)
    row = row._replace(difference=float(values.mean() - others.mean()))
    reason = untested(trained, other)
    if reason is not None:
        return row._replace(test=f"no test: {reason}")
    differences, folded = by_unit(values) - by_unit(others), folds_of(trained) is not None
    p = paired_t_test(differences, valid_to_train(trained) if folded else 0.0)
    if np.isnan(p):
        return row._replace(test="no test: all trainings differ by the same")
    test = "paired t-test over seeds"
    if folded:
        test = "corrected resampled t-test over folds"
    return row._replace(p=p, test=test)


def _signed(row: Compared) -> str:
    """The difference as it is printed: 0 where float32 would round it away."""
    if row.difference is None or row.mean is None:
        return "-"
    least = 8 * np.finfo(np.float32).eps * max(abs(row.mean), abs(row.mean - row.difference))
    return "0" if abs(row.difference) <= least else f"{row.difference:+.4g}"


def _cells(row: Compared) -> tuple[str, ...]:
    """The cells of a printed row."""
    mean = "-" if row.mean is None else f"{row.metric} {row.mean:.4g}"
    mean += "" if row.std is None else f" ± {row.std:.2g}"
    interval = "-" if row.low is None else f"{row.low:.4g} to {row.high:.4g}"
    difference = _signed(row)
    said = row.test if row.difference is None else f"{difference}, {row.test}"
    if row.test == "the best":
        said = row.test
    if row.p is not None:
        said = f"{difference}, p = {row.p:.2g}, {row.test}"
    member = "-" if row.member is None else str(row.member)
    return row.name, mean, interval, row.trainings, member, said
