"""`vt.stream`: data whose training batches are made by a pipeline of the user's."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import jax
import numpy as np

from vtune.data.dataset import Data
from vtune.data.holdout import data_of_parts
from vtune.data.host_data import HostData
from vtune.data.streams.feeds import Feed, LoadedFeed, MadeFeed
from vtune.data.streams.tape import Tape
from vtune.keywords import answering
from vtune.validation import check_call, check_count

_ENDLESS = 2**40  # batches; grain's data sets that are repeated without end have more
_BATCHES = (
    "give a function (seed, epoch) -> the epoch's batches, or an object that is iterated, such as "
    "a DataLoader"
)


@jax.tree_util.register_pytree_node_class
class Stream(HostData):
    """Training batches of a pipeline, with validation rows on the host.

    Make one with `vt.stream`. Its `arrays` are the first batch, which stands for the training rows
    wherever they are looked at beforehand, and behind it the validation rows.

    Attributes:
      steps: batches of an epoch. source: what gives them, in a word.
    """

    def __init__(self, held: Data, tape: Tape, steps: int, feed: Feed, source: str):
        super().__init__(held.arrays, held.train, held.valid, held.columns)
        self.test = held.test
        self.batch_size = tape.form.rows
        self.repeats, self.begins_again = feed.repeats, feed.begins_again
        self.steps = steps
        self.source = source
        self._tape = tape

    @property
    def train_rows(self) -> int:
        """The number of training rows of an epoch."""
        return self.steps * self._tape.form.rows

    def read_training(
        self, seed: int, epoch: Any, first: Any, count: int, batch_size: int
    ) -> dict[str, np.ndarray]:
        """Reads consecutive batches of an epoch, [count * batch_size, ...].

        Raises:
          TypeError, ValueError: a batch has another form than the first, or there is none.
          Exception: whatever the pipeline raises.
        """
        del batch_size  # the pipeline's own
        return self._tape.read(int(seed), int(epoch) * self.steps + int(first), count)

    def position(self) -> Any:
        """Returns where the pipeline's iterator stands, as JSON; None where batches depend on seed
        and epoch, and where it does not say."""
        return self._tape.position()

    def go_to(self, position: Any) -> None:
        """Goes to where `position` was."""
        self._tape.go_to(position)

    @property
    def begins(self) -> bool:
        """Whether a sweep can begin with the first batch, as it does."""
        return self._tape.begins

    @property
    def named_by_address(self) -> str | None:
        """An object that the iterator's state names by its address, as grain's may its source."""
        found = re.search(r"<[^<>]* at 0x[0-9a-fA-F]+>", self._tape.state_as_text())
        return None if found is None else found.group()

    def rows(self, seed: Any, epoch: Any, batch_size: int) -> NoReturn:
        """Raises TypeError: the rows of a stream have no numbers."""
        del seed, epoch, batch_size
        raise TypeError(
            "rows: the rows of a stream have no numbers; "
            "data.read_training(seed, epoch, first, count, data.batch_size) are the batches"
        )

    def order(self, seed: Any, epoch: Any) -> NoReturn:
        """Raises TypeError: the rows of a stream have no numbers."""
        self.rows(seed, epoch, 0)

    def __repr__(self) -> str:
        entries = ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self.entries().items())
        test = "" if self.test is None else f", test {len(self.test)}"
        return (
            f"Stream({entries}; {self.steps} batches of {self.batch_size} from a {self.source}, "
            f"valid {self.valid_rows}{test})"
        )


@answering
def stream(
    batches: Any, steps_per_epoch: int | None = None, *, valid: Any, test: Any = None
) -> Stream:
    """Trains on batches of a pipeline that reads, decodes, augments and shuffles by itself.

    Each batch is read once and trains all members.

        def batches(seed, epoch):
            shuffled = grain.MapDataset.source(records).seed(seed * 1000 + epoch).shuffle()
            return shuffled.batch(64, drop_remainder=True)

        data = vt.stream(batches, 500, valid={"x": X_valid, "y": y_valid})

    Args:
      batches: a function (seed, epoch) -> an iterable of the epoch's batches, where `seed` is the
        sweep's; or an object that is iterated: a data loader of grain or PyTorch, a data set of
        grain or tf.data, an iterator. A batch is a dict of arrays with equally many rows, and all
        batches are alike. One iterator of an object goes on from epoch to epoch; where it ends with
        an epoch, the object is iterated again.
      steps_per_epoch: batches of an epoch; where it is left out, as many as the object's length
        says. More of them than that in a function's epoch are left out.
      valid: the validation rows, as for `vt.from_splits`. They are read on the host, too.
      test: others, which neither train nor validate, for `Sweep.evaluate`.

    `init` sees the first batch, of a function that of seed 0 and epoch 0.

    A function can give each batch again, and so can iterators that have `get_state` and `set_state`
    (grain's), whose state a checkpoint keeps. A sweep on anything else cannot be extended, and has
    no `rerun` and `retrain`; taken up from a checkpoint, the batches before are read and left out.

    Raises:
      TypeError, ValueError: there is no first batch, or it or another argument cannot be used.

    Examples:
      >>> import numpy as np
      >>> def batches(seed, epoch):
      ...     rng = np.random.default_rng([seed, epoch])
      ...     while True:
      ...         x = rng.normal(size=(64, 3)).astype(np.float32)
      ...         yield {"x": x, "y": x.sum(axis=1)}
      >>> stream(batches, 500, valid=next(batches(1, 0)))
      Stream(x: float32[3], y: float32[]; 500 batches of 64 from a function, valid 64)
    """
    try:
        feed, steps = _feed(batches, steps_per_epoch)
        tape = Tape(feed, steps)
    except Exception as error:
        if type(error).__name__ == "UnparsedFlagAccessError":
            raise RuntimeError(
                "stream: grain asks for absl's flags where it starts processes; without absl.app, "
                "write absl.flags.FLAGS.mark_as_parsed() before"
            ) from error
        raise
    parts = {"the first batch": tape.read(0, 0, 1), "valid": valid}
    held = data_of_parts("stream", parts if test is None else {**parts, "test": test}, "host")
    source = "function" if isinstance(feed, MadeFeed) else type(batches).__name__
    return Stream(held, tape, steps, feed, source)


def _feed(batches: Any, steps_per_epoch: Any) -> tuple[Feed, int]:
    """Returns the pipeline, and the batches of an epoch."""
    if steps_per_epoch is not None:
        check_count("stream: steps_per_epoch", steps_per_epoch)
    if hasattr(batches, "keys"):
        raise TypeError(f"stream: batches is a {type(batches).__name__} of arrays; {_BATCHES}")
    if not hasattr(batches, "__iter__") and not hasattr(batches, "as_numpy_iterator"):
        if not callable(batches):
            raise TypeError(f"stream: batches={batches!r} gives no batches; {_BATCHES}")
        check_call("stream: batches", batches, "seed, epoch")
        steps = _given("a function", steps_per_epoch)
        return MadeFeed(batches, steps), steps
    kind, length = type(batches).__name__, _length(batches)
    if length == 0:
        raise ValueError(f"stream: the {kind} has no batches")
    if length is None:
        steps = _given(f"this {kind}", steps_per_epoch)
    else:
        steps = length if steps_per_epoch is None else int(steps_per_epoch)
        if length % steps:
            raise ValueError(
                f"stream: steps_per_epoch={steps}, and the {kind} has {length} batches, which are "
                f"no whole epochs; give {length} or leave it out"
            )
    return LoadedFeed(batches, steps), steps


def _given(what: str, steps_per_epoch: Any) -> int:
    if steps_per_epoch is None:
        raise ValueError(
            f"stream: {what} does not say how many batches an epoch has; give steps_per_epoch="
        )
    return int(steps_per_epoch)


def _length(batches: Any) -> int | None:
    """Returns how many batches an object has; None where it does not say, or has no end."""
    try:
        length = len(batches)
    except TypeError:
        return None
    return length if length < _ENDLESS else None
