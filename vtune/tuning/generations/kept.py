"""A run by generations in the folder of its checkpoints.

folder/manifest.json …   the generations that are finished, as one saved sweep
folder/generation-<k>/   the checkpoints of the one that is not, and then its sweep
folder/study.log         Optuna's journal of the trials, where the user gave no study
folder/run.json          the name by which the run finds its trials again

Whatever is killed leaves a folder that the same call goes on from: a generation is saved by itself,
then told to the study, then added to the finished ones, and only then removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtune.results import commit
from vtune.results.files import write_finished
from vtune.results.manifest import Call, read_manifest
from vtune.results.paths import make_folder, remove_empty
from vtune.results.quiet import without_late_failures
from vtune.results.trained import Trained
from vtune.runtime.notices import warn
from vtune.runtime.resume import CheckpointMismatchError
from vtune.search.generations import Generations
from vtune.studies.library import hushed, optuna_module
from vtune.studies.storage import Target, opened
from vtune.tuning.checkpoints.call import call_of, check_same
from vtune.tuning.checkpoints.folder import holds_sweep, loaded, remove_sweep
from vtune.tuning.checkpoints.settings import Checkpoint
from vtune.tuning.generations.merging import on_the_host, plan_of
from vtune.tuning.prepare import Prepared

RUN, STUDY, PART = "run.json", "study.log", "generation-"


@contextlib.contextmanager
def keeping(settings: Checkpoint | None, prepared: Prepared, search: Generations) -> Iterator[Kept]:
    """Holds the folder of a run while it lasts; without `settings` all is in memory.

    Raises:
      CheckpointMismatchError: the folder holds another call's run.
      FileExistsError: another process holds the folder, or it holds something else.
      OSError: it cannot be made or written to.
    """
    if settings is None:
        yield Kept(None, prepared, search, True)
        return
    new = make_folder("checkpoint", settings.folder)
    try:
        with commit.lock(settings.folder) as alone, without_late_failures():
            kept = Kept(settings, prepared, search, alone)
            kept.find()
            yield kept
    finally:
        remove_empty(new)


class Kept:
    """What there is of a run.

    Attributes:
      run: its name. sweep: the record of the finished generations; None before the first.
    """

    def __init__(
        self, settings: Checkpoint | None, prepared: Prepared, search: Generations, alone: bool
    ):
        self.run = uuid.uuid4().hex
        self.sweep: Trained | None = None
        self._settings, self._prepared, self._search = settings, prepared, search
        self._alone = alone
        if settings is not None:
            self._folder = settings.folder
            self._call = _call(prepared, search)

    @property
    def done(self) -> int:
        """How many generations are finished."""
        return 0 if self.sweep is None else len(self.sweep.drawn.began_from)

    def find(self) -> None:
        """Reads what the folder holds.

        Raises:
          CheckpointMismatchError, FileExistsError, ValueError: it cannot go on from what is there.
        """
        assert self._settings is not None
        saved = holds_sweep(self._folder)
        if self._settings.restart:
            self._discard(saved)
        elif saved:
            manifest = read_manifest(self._folder)
            check_same(self._folder, manifest["call"], self._call)
            self._check_not_fewer(len(manifest["began_from"]))
            self.sweep = self._loaded(len(manifest["began_from"]))
        note = self._folder / RUN
        if note.exists():
            self.run = json.loads(note.read_text())["run"]
        else:
            note.write_text(json.dumps({"run": self.run}) + "\n")

    def _check_not_fewer(self, held: int) -> None:
        asked = self._search.generations
        if asked < held:
            raise CheckpointMismatchError(
                f"{self._folder} holds {held} generations, and generations={asked} here; ask for "
                f"generations={held} or more, or choose another folder"
            )

    def _loaded(self, generations: int) -> Trained:
        trained = on_the_host(loaded(self._folder, self._prepared))
        return dataclasses.replace(trained, plan=plan_of(self._prepared.plan, generations))

    def _discard(self, saved: bool) -> None:
        """Removes a run, and says so."""
        parts = [entry for entry in self._folder.iterdir() if entry.name.startswith(PART)]
        if saved or parts:
            warn(f"{self._folder}: the run that it holds is removed, since restart=True was given")
        if saved:
            remove_sweep(self._folder)
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)
        for name in (RUN, STUDY):
            (self._folder / name).unlink(missing_ok=True)

    def study(self, directions: list[str]) -> Any:
        """Returns the study that is asked: the user's, one in the folder, or one in memory."""
        if self._search.study is not None:
            return self._search.study
        optuna = optuna_module("vt.Generations")
        storage = None
        if self._settings is not None:
            path = self._folder / STUDY
            _mend(path)
            storage = opened(optuna, Target(str(path), path))
        with hushed(optuna, optuna.logging.WARNING):
            return optuna.create_study(
                storage=storage, study_name="sweep", directions=directions, load_if_exists=True
            )

    def part(self, generation: int) -> Checkpoint | None:
        """Where a generation keeps its checkpoints."""
        if self._settings is None:
            return None
        path = self._folder / f"{PART}{generation}"
        return dataclasses.replace(self._settings, path=path, restart=False)

    def add(self, sweep: Trained) -> None:
        """Keeps the record of the generations that are finished now."""
        self.sweep = sweep
        if self._settings is not None:
            write_finished(sweep, self._folder, self._call, self._alone)
            for part in self._folder.glob(f"{PART}*"):
                shutil.rmtree(part, ignore_errors=True)


def _mend(journal: Path) -> None:
    """Cuts off the line that a killed process was writing, and takes away its lock: the folder's
    own is held."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        whole = journal.read_bytes()
        journal.write_bytes(whole[: whole.rfind(b"\n") + 1])


def _call(prepared: Prepared, search: Generations) -> Call:
    """What the call asks for. How many generations is not compared: more of them go on."""
    call = call_of(prepared, None)
    objectives = [list(objective) for objective in prepared.drawn.objectives]
    asked = {
        **call.asked,
        "the sampler": type(search.sampler).__name__,
        "warm_start": search.warm_start,
        "objectives": objectives,
    }
    return call._replace(asked=asked)
