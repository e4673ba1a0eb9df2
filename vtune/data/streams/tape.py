"""A stream's batches by their numbers: checked, cast, and the last ones kept."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from vtune.data.streams.batch_form import BatchForm, copy_batch, form_of
from vtune.data.streams.feeds import Feed, place
from vtune.data.streams.states import from_json, to_json

MOST = 1024  # places at which a feed stood that are remembered


class Kept(NamedTuple):
    """The batches that were read last, [first, stop), one behind the other."""

    seed: int
    first: int
    stop: int
    arrays: dict[str, np.ndarray]


class Tape:
    """Reads batches in their order. What was read last may be asked for again: who looks ahead, at
    the first batches of an epoch, takes none away from the training.

    Args:
      feed: the pipeline, at its beginning. steps: batches an epoch.

    Attributes:
      form: of the batches, as the first one is.
    """

    def __init__(self, feed: Feed, steps: int):
        self._feed, self._steps = feed, steps
        self._stood = {0: copy.deepcopy(feed.state())}  # where, by the batch that came next
        where = "stream: the first batch"
        batch = feed.batch(0, 0)
        self.form: BatchForm = form_of(where, batch)
        first = self.form.empty(1)
        copy_batch(where, batch, self.form, first)
        self._read_to = 0
        self._kept: Kept
        self._keep(Kept(0, 0, 1, first))

    def read(self, seed: int, first: int, count: int) -> dict[str, np.ndarray]:
        """Returns batches [first, first + count), one behind the other.

        Raises:
          TypeError, ValueError: the pipeline ends early, cannot go back, or gives another form.
        """
        seed = seed if self._feed.seeded else 0
        rows, arrays, fresh = self.form.rows, self.form.empty(count), False
        for i in range(count):
            number, into = first + i, slice(i * rows, (i + 1) * rows)
            if self._is_kept(seed, number):
                at = (number - self._kept.first) * rows
                for name, array in arrays.items():
                    array[into] = self._kept.arrays[name][at : at + rows]
                continue
            if number < self._feed.next:
                self._go_back(number)
            batch = self._feed.batch(seed, number)
            parts = {name: array[into] for name, array in arrays.items()}
            copy_batch(place(number, self._steps), batch, self.form, parts)
            fresh = True
        self._read_to = first + count
        if fresh:
            self._keep(Kept(seed, first, first + count, arrays))
        return arrays

    @property
    def begins(self) -> bool:
        """Whether the first batch can be read, and then the others."""
        kept = self._kept
        return self._feed.begins_again or (kept.first == 0 and self._feed.next <= kept.stop)

    def position(self) -> Any:
        """Returns where the feed stood at or before the end of what was read last, as JSON; None
        where it cannot say, or the seed and a batch's number say all."""
        number, state = self._stood_before(self._read_to)
        return None if state is None else {"batches": number, "state": to_json(state)}

    def state_as_text(self) -> str:
        """Returns the feed's state, for whoever looks for something in it."""
        state = self._feed.state()
        return state.decode(errors="replace") if isinstance(state, bytes) else str(state)

    def go_to(self, position: Any) -> None:
        """Goes to a position of this stream's, or of one like it."""
        number, state = position["batches"], from_json(position["state"])
        self._feed.go_to(number, state)
        self._kept = self._kept._replace(stop=self._kept.first)
        self._stood[number] = state

    def _is_kept(self, seed: int, number: int) -> bool:
        kept = self._kept
        return seed == kept.seed and kept.first <= number < kept.stop

    def _keep(self, read: Kept) -> None:
        """Keeps what was read, and where the feed stands now."""
        self._kept = read
        self._stood[self._feed.next] = copy.deepcopy(self._feed.state())
        if len(self._stood) > MOST:
            del self._stood[next(number for number in self._stood if number)]

    def _go_back(self, number: int) -> None:
        """Goes to where the feed stood before a batch, if that is known."""
        at, state = self._stood_before(number)
        if state is not None:
            self._feed.go_to(at, state)

    def _stood_before(self, number: int) -> tuple[int, Any]:
        at = max(at for at in self._stood if at <= number)
        return at, self._stood[at]
