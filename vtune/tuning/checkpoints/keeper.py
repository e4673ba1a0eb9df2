"""Keeps the checkpoints of one run: holds the folder, writes while it runs, saves its end."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from vtune import target
from vtune.engine.carry import EarlierRun
from vtune.engine.early_stopping import final_population
from vtune.results import checkpoint_files as files
from vtune.results import commit
from vtune.results.files import write_finished
from vtune.results.manifest import Call
from vtune.results.paths import make_folder, remove_empty
from vtune.results.quiet import without_late_failures
from vtune.results.sweep import Sweep
from vtune.results.trained import Trained, finish
from vtune.rng.keys import is_key
from vtune.runtime import processes
from vtune.runtime.execute import INTERRUPTED, Outcome
from vtune.runtime.hosted import on_first_host
from vtune.runtime.interrupt import Interrupt
from vtune.runtime.notices import warn
from vtune.runtime.resume import Point
from vtune.runtime.watch import Standing, Watcher
from vtune.tuning.checkpoints.beginning import Finder
from vtune.tuning.checkpoints.call import call_of
from vtune.tuning.checkpoints.settings import Checkpoint
from vtune.tuning.prepare import Prepared
from vtune.tuning.streamed import warn_of_addresses
from vtune.types import PyTree
from vtune.visible import in_one_line

LONG_ROUND = 10.0  # seconds


class CheckpointSaveError(OSError):
    """No checkpoint of a run could be written; `sweep` is what it made."""

    def __init__(self, message: str, sweep: Sweep):
        super().__init__(message)
        self.sweep = sweep


@contextlib.contextmanager
def keeping(settings: Checkpoint, prepared: Prepared, past: EarlierRun | None) -> Iterator[Keeper]:
    """Holds the folder of a run while it lasts.

    Where SIGTERM came meanwhile it is raised again in the end, which ends the process. Several
    processes then all end so, since what the script goes on with needs all of them.

    Raises:
      CheckpointMismatchError: the folder holds another call's checkpoints.
      FileExistsError: another process holds the folder, or it holds something else.
      OSError: it cannot be made or written to.
    """
    folder, asked = settings.folder, [False]
    with contextlib.ExitStack() as held:
        held.callback(lambda: signal.raise_signal(signal.SIGTERM) if asked[0] else None)
        with processes.together(f"the checkpoints in {folder}"):
            alone = False
            if target.is_first_process():
                held.callback(remove_empty, make_folder("checkpoint", folder))
                alone = held.enter_context(commit.lock(folder))
                held.enter_context(without_late_failures())
            keeper = Keeper(settings, prepared, past, alone)
        try:
            keeper.find()
            yield keeper
            keeper.terminate_together()
        finally:
            asked[0] = keeper.close()


class Keeper(Watcher):
    """Writes a run's checkpoints between its segments, in a thread.

    Of several processes the first one holds the folder and writes; all read where they go on.

    Attributes:
      point: where the run goes on; None at its beginning.
      finished: the sweep, where the folder holds it already.
    """

    everywhere = True

    def __init__(
        self, settings: Checkpoint, prepared: Prepared, past: EarlierRun | None, alone: bool
    ):
        self.point: Point | None = None
        self.finished: Sweep | None = None
        self._settings, self._prepared, self._past = settings, prepared, past
        self._folder, self._alone = settings.folder, alone
        self._call: Call = call_of(prepared, past)
        warn_of_addresses(settings.folder, prepared.arguments.data)
        self._terminate = Interrupt("after this round", signal.SIGTERM)
        self._thread = ThreadPoolExecutor(1, "vtune-checkpoint")
        self._writing: Future | None = None
        self._began: float | None = None  # when the run began
        self._called = 0.0  # when the segment did
        self._said_long = False
        self._last = (0.0, prepared.plan.past)  # when and at which round the last one was due
        self._kept: int | None = None  # the round of the last one that is there
        self._failure: BaseException | None = None  # of the last one that is not
        self._position: Any = None  # of a stream of batches, after the rounds that were run

    def find(self) -> None:
        """Finds the point to go on from, or the finished sweep.

        Raises:
          CheckpointMismatchError, FileExistsError, ValueError: it cannot go on from what is there.
        """
        self.finished, self.point = Finder(self._settings, self._prepared, self._call).find()
        if self.point is not None:
            self._last = (0.0, self.point.done)
            self._kept = self.point.done

    # While it runs

    def most_rounds(self, done: int) -> int | None:
        self._called = time.monotonic()
        if self._began is None:
            self._began = time.monotonic()
            self._last = (self._began, self._last[1])
            self._terminate.__enter__()
        rounds = self._settings.rounds
        return None if rounds is None else max(1, self._last[1] + rounds - done)

    def segment(self, standing: Standing) -> str | None:
        self._position = standing.position
        self._say_long_rounds(standing)
        self._collect()
        return INTERRUPTED if self._terminate.asked else None

    def wants_states(self, standing: Standing) -> bool:
        if self._terminate.asked or standing.done == standing.rounds or self._writing is not None:
            return False
        return target.is_first_process() and self._is_due(standing.done)

    def take_states(self, carry: PyTree, done: int) -> None:
        self._write(carry, done)

    def _say_long_rounds(self, standing: Standing) -> None:
        """Says once that rounds are long: they are never cut."""
        seconds = time.monotonic() - self._called
        if seconds < LONG_ROUND or self._said_long or standing.done - standing.first > 1:
            return
        self._said_long = True
        warn(
            f"{self._folder}: a round takes {seconds:.0f} s, and only between rounds can a "
            "checkpoint be written and Ctrl-C or SIGTERM be answered; give more rounds= than "
            f"{standing.rounds}, which are then shorter and scored more often"
        )

    def _is_due(self, done: int) -> bool:
        since, rounds = self._last
        if self._settings.rounds is not None:
            return done - rounds >= self._settings.rounds
        return time.monotonic() - since >= self._settings.every

    def _write(self, carry: PyTree, done: int) -> None:
        """Begins to write a checkpoint. The carry is copied first: it is donated to the next
        segment."""
        self._last = (time.monotonic(), done)
        leaves, structure = jax.tree.flatten(carry)
        copies = [_host_copy(leaf) for leaf in leaves]
        position = self._position
        self._writing = self._thread.submit(self._written, copies, structure, done, position)

    def _written(self, copies: list[np.ndarray], structure: Any, done: int, position: Any) -> int:
        plan, space, cohorts, arguments, drawn = self._prepared
        outcome = Outcome(jax.tree.unflatten(structure, copies), done, INTERRUPTED, 0.0, 0.0)
        past = self._past
        trained = finish(plan, space, cohorts, arguments, outcome, past=past, drawn=drawn)
        make_folder("checkpoint", self._folder)
        keep = self._settings.keep
        files.write_checkpoint(self._folder, trained, copies, structure, self._call, keep, position)
        return done

    def _collect(self, wait: bool = False) -> None:
        """Notes how the last write ended, if it has."""
        if self._writing is None or not (wait or self._writing.done()):
            return
        writing, self._writing = self._writing, None
        try:
            self._kept, self._failure = writing.result(), None
        except Exception as error:
            if self._failure is None:
                warn(
                    f"{self._folder}: a checkpoint could not be written ({in_one_line(error)}); "
                    "training goes on, and it is tried again"
                )
            self._failure = error

    # In the end

    def end(self, outcome: Outcome, sweep: Sweep) -> None:
        """Saves the sweep where it is finished, else a last checkpoint.

        Raises:
          CheckpointSaveError: nothing of the run could be saved.
        """
        saving = f"saving to {self._folder}"
        if processes.several():
            processes.meet(saving)
            carry = on_first_host(outcome.carry)
            outcome = dataclasses.replace(outcome, carry=carry)
        with processes.together(saving, long=True):
            if target.is_first_process():
                self._end(outcome, sweep)

    def _end(self, outcome: Outcome, sweep: Sweep) -> None:
        plan, self._position = self._prepared.plan, outcome.position
        self._collect(wait=True)
        if outcome.rounds == plan.rounds:
            ended = (final_population(plan, cohort.population) for cohort in outcome.carry)
            self._finish(dataclasses.replace(sweep.trained, populations=tuple(ended)))
        elif self._kept != outcome.rounds:
            self._write(outcome.carry, outcome.rounds)
            self._collect(wait=True)
        if self._failure is not None and self._kept is None:
            raise CheckpointSaveError(
                f"{self._folder}: nothing could be saved there ({in_one_line(self._failure)}); the "
                "sweep itself is error.sweep: error.sweep.save(another_folder)",
                sweep,
            ) from self._failure
        if self._failure is not None:
            warn(
                f"{self._folder}: the end of the sweep could not be saved there "
                f"({in_one_line(self._failure)}); what is there are the first {self._kept} rounds. "
                "Write sweep.save(another_folder)"
            )

    def _finish(self, trained: Trained) -> None:
        try:
            write_finished(trained, self._folder, self._call, self._alone)
        except Exception as error:
            self._failure = error
        else:
            self._failure = None
            files.remove_checkpoints(self._folder)

    def terminate_together(self) -> None:
        """SIGTERM to one process is one to all of them."""
        if any(processes.told_by_all("the end of the run", self._terminate.asked)):
            self._terminate.asked = True

    def close(self) -> bool:
        """Waits for what is being written; returns whether SIGTERM came."""
        self._thread.shutdown()
        self._terminate.__exit__()
        return self._terminate.asked


def _host_copy(leaf: Any) -> np.ndarray:
    """A copy on the host. What was brought there from several processes is one already."""
    if isinstance(leaf, np.ndarray) and processes.several():
        return leaf
    words = jax.random.key_data(leaf) if is_key(leaf) else leaf
    return np.array(jax.device_get(words))
