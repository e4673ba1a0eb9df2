"""Pipelines of batches, asked for one batch after the other.

Batches are counted from the first epoch on, `steps` an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

_FACTORY = "give a function (seed, epoch) -> batches, which can begin any epoch again"


class Feed(Protocol):
    """A pipeline.

    Attributes:
      seeded: whether its batches depend on the sweep's seed.
      repeats: whether it gives the same batches again, from any of them on.
      begins_again: whether it can begin from its first batch again, though others may come.
      next: the number of the batch that comes without going anywhere.
    """

    seeded: bool
    repeats: bool
    begins_again: bool
    next: int

    def batch(self, seed: int, number: int) -> Any:
        """Returns a batch as the pipeline gives it; those between it and `next` are left out."""

    def state(self) -> Any:
        """Returns where it stands, for `go_to`; None where it cannot say."""

    def go_to(self, number: int, state: Any) -> None:
        """Goes to where it stood when `number` came next."""


class MadeFeed:
    """A function (seed, epoch) -> batches of that epoch. An epoch's rest is left out."""

    seeded = True
    repeats = True
    begins_again = True

    def __init__(self, make: Callable[[int, int], Any], steps: int):
        self.next = 0
        self._make, self._steps = make, steps
        self._seed: int | None = None
        self._iterator: Iterator[Any] | None = None

    def batch(self, seed: int, number: int) -> Any:
        epoch, within = number // self._steps, self.next % self._steps
        goes_on = within and seed == self._seed and self.next // self._steps == epoch
        if self._iterator is None or not goes_on or self.next > number:
            self._open(seed, epoch)
        while True:
            batch = self._taken(epoch)
            if self.next > number:
                return batch

    def state(self) -> None:
        return None

    def go_to(self, number: int, state: Any) -> None:
        del number, state  # the next batch says where to

    def _open(self, seed: int, epoch: int) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()  # processes and files of an epoch's rest
        self._iterator, self._seed, self.next = None, seed, epoch * self._steps
        made = self._make(seed, epoch)
        if isinstance(made, Mapping):
            raise TypeError(
                f"batches({seed}, {epoch}) returned a {type(made).__name__}, as one batch is; "
                "return an iterable of batches, or write them with yield"
            )
        if not hasattr(made, "__iter__") and not hasattr(made, "as_numpy_iterator"):
            raise TypeError(
                f"batches({seed}, {epoch}) returned a {type(made).__name__}; return an iterable "
                "of batches, or write them with yield"
            )
        self._iterator = iterator_of(made)

    def _taken(self, epoch: int) -> Any:
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except StopIteration:
            raise _ended(epoch, self.next % self._steps, self._steps) from None
        except Exception:
            self._iterator = None  # whoever asks again is given another one
            raise
        self.next += 1
        return batch


class LoadedFeed:
    """An object that is iterated: a loader, a data set, or an iterator.

    One iterator goes on from epoch to epoch. Where it ends with an epoch, the next one begins with
    another iterator, if the object gives one.
    """

    seeded = False

    def __init__(self, source: Any, steps: int):
        self.next = 0
        self._source, self._steps = source, steps
        self._iterator = iterator_of(source)
        self._again = hasattr(source, "as_numpy_iterator") or self._iterator is not source
        self._taken = 0  # batches of this iterator
        self.repeats = self.state() is not None or isinstance(source, Sequence)
        self.begins_again = self._again or self.repeats

    def batch(self, seed: int, number: int) -> Any:
        del seed  # the order is the pipeline's own
        if number < self.next:
            self._back(number)
        while True:
            batch = self._following()
            if self.next > number:
                return batch

    def state(self) -> Any:
        get = getattr(self._iterator, "get_state", None)
        return None if get is None else get()

    def go_to(self, number: int, state: Any) -> None:
        if state is not None:
            self._iterator.set_state(state)  # type: ignore[attr-defined]
            self.next, self._taken = number, 1

    def _back(self, number: int) -> None:
        """Begins again, if it can."""
        if self._again and (number == 0 or self.repeats):
            self._open()
            self.next = 0
        else:
            raise ValueError(
                f"{place(number, self._steps)} is asked for again, and the "
                f"{type(self._source).__name__} is at {place(self.next, self._steps)} and cannot "
                f"go back; {_FACTORY}"
            )

    def _open(self) -> None:
        self._iterator, self._taken = iterator_of(self._source), 0

    def _following(self) -> Any:
        epoch, number = divmod(self.next, self._steps)
        try:
            batch = next(self._iterator)
        except StopIteration:
            if number or not self._again or not self._taken:
                raise self._end(epoch, number) from None
            self._open()
            return self._following()
        self.next += 1
        self._taken += 1
        return batch

    def _end(self, epoch: int, number: int) -> ValueError:
        if number or not epoch:
            return _ended(epoch, number, self._steps)
        return ValueError(
            f"the {type(self._source).__name__} ended with epoch {epoch - 1}, and cannot be "
            "iterated again; give what it iterates over (a loader, not iter(loader)), let it go "
            f"on without end, or {_FACTORY}"
        )


def iterator_of(source: Any) -> Iterator[Any]:
    """Returns an iterator of a pipeline's batches."""
    as_numpy = getattr(source, "as_numpy_iterator", None)  # of tf.data
    made: Iterator[Any] = iter(source) if as_numpy is None else as_numpy()
    return made


def place(number: int, steps: int) -> str:
    """Returns what messages call a batch."""
    return f"epoch {number // steps}, batch {number % steps}"


def _ended(epoch: int, number: int, steps: int) -> ValueError:
    return ValueError(
        f"epoch {epoch} ended after {number} of {steps} batches; give as many as "
        "steps_per_epoch= says, or a multiple"
    )
