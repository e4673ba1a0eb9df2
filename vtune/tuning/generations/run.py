"""The loop over generations: ask, train, tell."""

from __future__ import annotations

import dataclasses
import time

from vtune.results.sweep import Sweep
from vtune.results.trained import Trained
from vtune.runtime.execute import INTERRUPTED
from vtune.runtime.feeding import SourceError
from vtune.runtime.interrupt import Interrupt
from vtune.runtime.notices import warn
from vtune.runtime.time_limit import ENDED
from vtune.search.generations import Generations
from vtune.studies.library import direction
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.generations.asking import Asking
from vtune.tuning.generations.kept import Kept, keeping
from vtune.tuning.generations.merging import merged, on_devices
from vtune.tuning.generations.told import TheWhole
from vtune.tuning.generations.warm import warmed
from vtune.tuning.launch import Watching, run_told, with_what_there_is
from vtune.tuning.prepare import Prepared, other_members


def run_generations(
    prepared: Prepared, given: TuneArguments, search: Generations, watching: Watching
) -> Sweep:
    """Runs a prepared sweep generation by generation.

    Args:
      prepared: with the members of the first generation. given: what it was prepared from.
      search: as checked.
    """
    with keeping(watching.checkpoint, prepared, search) as kept:
        trained = kept.sweep
        if trained is None or kept.done < search.generations:
            trained = _Run(prepared, given, search, watching, kept).to_the_end()
    return Sweep(on_devices(trained))


class _Run:
    """A run that is not finished."""

    def __init__(
        self,
        prepared: Prepared,
        given: TuneArguments,
        search: Generations,
        watching: Watching,
        kept: Kept,
    ):
        self._prepared, self._given, self._search = prepared, given, search
        self._watching, self._kept = watching, kept
        plan, count = prepared.plan, search.generations
        name = plan.metric if isinstance(plan.metric, str) else "score"
        objectives = prepared.drawn.objectives or ((name, plan.mode),)
        study = kept.study([direction(mode) for _, mode in objectives])
        seed = int(prepared.arguments.seed)
        self._asking = Asking(
            search, study, prepared.space, seed, prepared.cohorts, kept.run, objectives
        )
        self._unfinished: Trained | None = None
        self._seconds = 0.0  # that asking took
        self._told = TheWhole(watching.callbacks, prepared.space, count, plan.rounds, plan.sign)

    def to_the_end(self) -> Trained:
        """Runs the generations that are left, or those that the user and the time allow.

        Returns:
          The record of all that are finished; of the first one alone where it is not.

        Raises:
          KeyboardInterrupt: Ctrl-C before the first round.
          SourceError: rows of the data could not be read; its sweep is what would be returned.
        """
        kept, count = self._kept, self._search.generations
        if kept.sweep is not None:
            self._asking.tell_missing(kept.sweep)
        ended = None
        try:
            while kept.done < count and ended is None:
                ended = self._next(kept.done)
        except SourceError as error:
            raise self._with_all(error) from error.__cause__
        finally:
            if self._watching.checkpoint is None:
                self._asking.give_up()
        found = kept.sweep or self._unfinished
        if found is None:
            raise KeyboardInterrupt
        if ended is not None:
            self._say(ended)
        self._told.whole(Sweep(found))
        return found

    def _with_all(self, error: SourceError) -> SourceError:
        """Returns the error with the generations that are finished, if there are any, and tells
        the callbacks of the end."""
        finished = self._kept.sweep
        if finished is not None:
            sweep = Sweep(on_devices(finished))
            error = with_what_there_is(error, sweep, self._kept.done, "generation", self._then())
        if error.sweep is not None:
            self._told.whole(error.sweep)
        return error

    def _next(self, generation: int) -> str | None:
        """Runs one generation; returns why the run ends in it or after it."""
        kept, limit, plan = self._kept, self._watching.limit, self._prepared.plan
        if limit is not None and generation and not limit.fits(self._seconds):
            return ENDED
        began = time.monotonic()
        with Interrupt("when the settings are asked for") as interrupt:
            cohorts = self._asking.cohorts(generation)
        self._seconds = time.monotonic() - began
        if interrupt.asked:
            return INTERRUPTED
        if limit is not None:
            limit.wait()
        prepared = other_members(self._prepared, self._given, cohorts)
        prepared = warmed(prepared, self._search, kept.sweep)
        self._told.next(generation, prepared.cohorts, kept.sweep)
        part = f"generation {generation + 1} of {self._search.generations}: "
        watching = dataclasses.replace(self._watching, checkpoint=kept.part(generation), part=part)
        sweep, ended = run_told(prepared, watching, self._told)
        if sweep.trained.rounds < plan.rounds:
            self._unfinished = sweep.trained
            return ended
        self._asking.tell(generation, sweep.trained)
        kept.add(merged(kept.sweep, sweep.trained))
        return ended if kept.done < self._search.generations else None

    def _say(self, ended: str) -> None:
        """Warns that the run ended early."""
        done, count = self._kept.done, self._search.generations
        held = f"{done} of {count} generations were run; the sweep holds those"
        if not done and self._unfinished is not None:
            rounds, planned = self._unfinished.rounds, self._prepared.plan.rounds
            held = f"{rounds} of {planned} rounds of the first of {count} generations were run"
        warn(f"{ended}: {held}{self._then()}")

    def _then(self) -> str:
        kept = self._watching.checkpoint is not None
        return "; the same call goes on from there" if kept else ""
