"""How long members train, when they are scored and when they stop early.

Epochs, steps, rounds and batch sizes become numbers here, and nowhere else. They are checked before
anything is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vtune.data.dataset import Data
from vtune.data.folds import Folds
from vtune.engine.plan import FoldSteps, Stopping
from vtune.hparams import Hparams, UnknownHyperparameterError
from vtune.learner.protocol import Learner
from vtune.refine.base import Refiner
from vtune.search.base import Cohort
from vtune.space.distributions import Categorical
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.steady import check_steady, settings_of
from vtune.validation import check_call, check_count, is_number, is_whole, plain_number

MAX_STEPS = 2**31 - 1  # what is counted in the program's whole numbers
BATCH_SIZE = 32  # where batch_size= is left out
EVAL_ROWS = 1024  # rows scored at once where eval_batch_size= is left out


class TrainingLength(NamedTuple):
    """How long the members of one cohort train.

    Attributes:
      batch_size: training rows per step; None without data.
      steps: optimizer updates from the first round to the last, of the largest fold where folds
        differ.
      steps_per_epoch: as `steps`; None without data.
      by_fold: the steps of every fold where folds differ, else None.
    """

    batch_size: int | None
    steps: int
    steps_per_epoch: int | None
    by_fold: tuple[FoldSteps, ...] | None = None

    @property
    def fewest(self) -> int:
        """The steps of the fold that takes the fewest."""
        return min([self.steps] if self.by_fold is None else [fold.steps for fold in self.by_fold])


class Durations(NamedTuple):
    """How long the members of a sweep train, how often they are scored, and when they stop.

    Attributes:
      cohorts: as drawn, with the step counts that are program arguments among their
        hyperparameters.
      lengths: one for each cohort.
      total_steps: `h["total_steps"]` of each cohort; None where its members have different ones,
        which are then among their hyperparameters.
      rounds: how often members are scored.
      stopping: None where all members train to the end and keep their last weights.
    """

    cohorts: tuple[Cohort, ...]
    lengths: tuple[TrainingLength, ...]
    total_steps: tuple[int | None, ...]
    rounds: int
    stopping: Stopping | None


def durations_of(given: TuneArguments, cohorts: tuple[Cohort, ...], refiner: Refiner) -> Durations:
    """Decides how long the members of every cohort train.

    Raises:
      TypeError, ValueError: epochs, steps, rounds, batch sizes or early stopping cannot work.
    """
    for name in ("epochs", "batch_size"):
        if callable(getattr(given, name)):
            check_call(name, getattr(given, name), "h")
            check_steady(name, getattr(given, name), cohorts)
    epochs_of = given.epochs if callable(given.epochs) else None
    epochs = given.epochs if epochs_of is None else most_epochs(cohorts, epochs_of)
    lengths = tuple(
        length_of(cohort, given.data, epochs, given.steps, given.batch_size) for cohort in cohorts
    )
    rounds = rounds_of(given.rounds, epochs, lengths, refiner)
    stopping = stopping_of(given.patience, given.keep, epochs_of, rounds, epochs, refiner)
    with_steps, total_steps = [], []
    for cohort, length in zip(cohorts, lengths, strict=True):
        total: int | None = length.steps
        if epochs_of is not None:
            cohort, total = _with_total_steps(cohort, epochs_of, length)
        cohort = _with_traced_lengths(cohort, given.data, length)
        with_steps.append(cohort)
        total_steps.append(total)
    return Durations(tuple(with_steps), lengths, tuple(total_steps), rounds, stopping)


def length_of(
    cohort: Cohort, data: Data | None, epochs: Any, steps: Any, batch_size: Any
) -> TrainingLength:
    """Returns how long the members of a cohort train, from the arguments of `vt.tune`."""
    if (epochs is None) == (steps is None):
        both = "neither is" if epochs is None else "both are"
        raise ValueError(f"epochs= or steps= must be given, one of them; {both}")
    for name, value in (("epochs", epochs), ("steps", steps)):
        _check_no_range(name, value)
        if value is not None:
            check_count(name, value)
    if data is None:
        if steps is None:
            raise ValueError("epochs= needs data; without data, give steps=")
        return TrainingLength(None, checked_steps(int(steps)), None)
    size, rows = batch_size_of(cohort, batch_size, data.batch_size), data.train_rows
    if size > rows:
        of = " of the smallest fold" if isinstance(data, Folds) else ""
        raise ValueError(
            f"batch_size={size} is above the {rows} training rows{of}; give {rows} or less"
        )
    # Rows that do not fill a batch are left out of the epoch.
    total = lambda per_epoch: checked_steps(
        int(steps) if steps is not None else per_epoch * int(epochs)
    )
    by_fold = None
    if data.traced_sizes is None and data.steps_by_fold(size) is not None:
        by_fold = tuple(FoldSteps(n, total(n)) for n in data.steps_by_fold(size))
    steps_per_epoch = data.steps_per_epoch(size)
    return TrainingLength(size, total(steps_per_epoch), steps_per_epoch, by_fold)


def checked_steps(steps: Any) -> Any:
    """Returns the steps of a whole training; raises ValueError where 32 bits cannot count them."""
    if steps > MAX_STEPS:
        raise ValueError(
            f"{int(steps):,} steps are more than are counted in 32 bits; train {MAX_STEPS:,} at "
            "most, with fewer epochs= or steps=, or a larger batch_size="
        )
    return steps


def batch_size_of(cohort: Cohort, batch_size: Any, own: int | None = None) -> int:
    """Returns a cohort's training rows per step.

    Args:
      batch_size: as users give it: a number, a function of `h`, or None.
      own: the rows of a batch of data that come in batches.
    """
    size = batch_size
    if size is None:
        return own or BATCH_SIZE
    if callable(batch_size):
        reads: set[str] = set()
        unknown = None
        try:
            size = batch_size(Hparams({}, cohort.combination.static, reads))
        except UnknownHyperparameterError as error:
            unknown = error.name
        name = unknown or next(iter(reads & cohort.combination.traced.keys()), None)
        if name is not None:  # h.get(name, 32) raises nothing
            raise ValueError(
                f"batch_size reads {name!r}, which is not structural; write "
                "vt.Categorical([...]) or a fixed value for it in the space"
            )
    _check_no_range("batch_size", size)
    if not is_whole(size):
        raise TypeError(f"batch_size={size!r} must be a whole number, 1 or more")
    if size < 1:
        raise ValueError(f"batch_size={size} must be 1 or more")
    if own is not None and size != own:
        raise ValueError(
            f"batch_size={size}, and the batches of the stream have {own} rows; leave batch_size= "
            "out"
        )
    return int(size)


def eval_batch_size_of(
    size: Any, data: Data | None, learner: Learner, lengths: Iterable[TrainingLength]
) -> int | None:
    """Returns the rows scored at once; None without data.

    A loss of whole batches is judged on batches of one size, which every fold can fill: as many
    rows as the smallest training batch has.
    """
    if size is not None:
        check_count("eval_batch_size", size)
    if data is None:
        return None
    if not learner.whole_batches:
        return min(int(size or EVAL_ROWS), data.valid_rows)
    rows = data.valid_rows
    if isinstance(data, Folds) and data.traced_sizes is None:
        rows = min(data.valid_sizes)
    smallest = min(length.batch_size or EVAL_ROWS for length in lengths)
    return min(int(size or smallest), rows)


def rounds_of(rounds: Any, epochs: Any, lengths: Sequence[TrainingLength], refiner: Refiner) -> int:
    """Returns how often members are scored: as given, as the refiner says, or once an epoch."""
    given = rounds
    if rounds is None:
        rounds = getattr(refiner, "max_rounds", None)
    if rounds is None:
        if epochs is not None:
            return int(epochs)
        full_epochs = [
            max(1, length.steps // length.steps_per_epoch)
            for length in lengths
            if length.steps_per_epoch
        ]
        return min(full_epochs, default=1)
    check_count("rounds", rounds)
    shortest = min(length.fewest for length in lengths)
    if rounds > shortest:
        of = " of the smallest fold" if any(length.by_fold for length in lengths) else ""
        if given is None:
            who = type(refiner).__name__
            raise ValueError(
                f"{who}(max_rounds={rounds}) needs as many rounds, and there are {shortest} "
                f"steps{of}; give more epochs= or {who}(max_rounds={shortest})"
            )
        raise ValueError(
            f"rounds={rounds} is above the {shortest} steps{of}; give {shortest} or less"
        )
    return int(rounds)


def stopping_of(
    patience: Any,
    keep: Any,
    epochs_of: Callable[[Hparams], Any] | None,
    rounds: int,
    epochs: Any,
    refiner: Refiner,
) -> Stopping | None:
    """Returns when members stop; None where all train to the end and keep their last weights.

    Args:
      epochs_of: the function given as epochs=, or None. epochs: the most that it returns.

    Raises:
      ValueError: an argument cannot work, or members have their own epochs and a refiner.
    """
    if patience is not None:
        check_count("patience", patience)
        patience = min(int(patience), MAX_STEPS)  # counted in 32 bits
    if keep not in (None, "best", "last"):
        raise ValueError(f'keep={keep!r} must be "best" or "last"')
    keep = keep or ("last" if patience is None else "best")
    if patience is None and epochs_of is None and keep == "last":
        return None
    if epochs_of is not None and not getattr(refiner, "idle", False):
        raise ValueError(
            "epochs= as a function goes with plain search only, since "
            f"{type(refiner).__name__} decides which members go on; leave one of the two out"
        )
    if epochs_of is not None and rounds != epochs:
        raise ValueError(
            f"rounds={rounds} cannot be combined with epochs= as a function, which scores members "
            "every epoch; leave rounds= out"
        )
    return Stopping(patience, keep, epochs_of is not None)


def most_epochs(cohorts: tuple[Cohort, ...], epochs_of: Callable[[Hparams], Any]) -> int:
    """Returns the largest number of epochs that a member may have.

    The ends of the ranges count as well as the settings drawn, so that another draw from the same
    space runs the same program.

    Raises:
      ValueError, TypeError: a number of epochs is not whole, or below 1.
    """
    numbers = []
    last = np.nextafter(1.0, 0.0)
    for cohort in cohorts:
        traced, static = cohort.combination.traced, cohort.combination.static
        ends = [
            {name: d.from_unit(np.array([u]))[0] for name, d in traced.items()} for u in (0.0, last)
        ]
        for setting in [*settings_of(cohort), *ends]:
            try:
                epochs = epochs_of(Hparams(setting, static))
            except UnknownHyperparameterError as error:
                said = str(error).replace("vt.Float(low, high)", "vt.Int(low, high)")
                raise ValueError(f"epochs: {said}") from None
            numbers.append(_whole_epochs(epochs))
    return max(numbers)


def _with_traced_lengths(cohort: Cohort, data: Data | None, length: TrainingLength) -> Cohort:
    """Returns the cohort with step counts among its traced values, where folds have their own.

    They are those of the largest fold; the program takes each fold's own in their place.
    """
    per_epoch = length.steps_per_epoch or 1
    steps: dict[str, Any] = {}
    if length.by_fold is not None:
        steps["steps_per_epoch"] = np.int32(per_epoch)
        if length.fewest < length.steps:
            steps["total_steps"] = np.int32(length.steps)
    elif data is not None:
        steps = data.traced_lengths(length.batch_size or 1, length.steps // per_epoch)
    columns = {name: np.full(len(cohort.id), count) for name, count in steps.items()}
    return cohort._replace(hparams={**columns, **cohort.hparams})


def _with_total_steps(
    cohort: Cohort, epochs_of: Callable[[Hparams], Any], length: TrainingLength
) -> tuple[Cohort, int | None]:
    """Returns the cohort and the steps of its members, where epochs are a function of `h`.

    A function that reads structural choices only gives all members of the cohort the same number.
    Elsewhere, and where folds differ, the number is None and "total_steps" becomes a traced
    hyperparameter, of the largest fold.
    """
    static, per_epoch = cohort.combination.static, length.steps_per_epoch or 1
    reads: set[str] = set()
    epochs = [epochs_of(Hparams(setting, static, reads)) for setting in settings_of(cohort)]
    steps = [_whole_epochs(number) * per_epoch for number in epochs]
    if length.by_fold is None and reads.isdisjoint(cohort.hparams):
        return cohort, steps[0]
    hparams = {**cohort.hparams, "total_steps": np.asarray(steps, np.int32)}
    return cohort._replace(hparams=hparams), None


def _whole_epochs(epochs: Any) -> int:
    """Returns what a user's function gave as an int; a float such as 3.0 counts as whole."""
    number = plain_number(epochs)
    if not is_number(number) or number != number // 1:
        raise TypeError(
            f"epochs={epochs!r} must be a whole number; write "
            '{"epochs": vt.Int(5, 20)} and epochs=lambda h: h["epochs"]'
        )
    if number < 1:
        raise ValueError(f"epochs={epochs} must be 1 or more")
    return int(number)


def _check_no_range(name: str, value: Any) -> None:
    """Raises where a distribution was given that belongs into the space."""
    if not isinstance(value, Categorical) and not hasattr(value, "from_unit"):
        return
    instead = f'write "{name}": {value!r} into the space and give {name}=lambda h: h["{name}"]'
    if name == "steps":
        instead = "give one number for all members"
    raise TypeError(f"{name}={value!r} must be a whole number; {instead}")
