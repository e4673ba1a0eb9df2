"""Where a run begins, by what its folder holds: finished, after some rounds, or anew."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vtune import target
from vtune.results import checkpoint_files as files
from vtune.results.manifest import Call, read_manifest
from vtune.results.sweep import Sweep
from vtune.runtime import processes
from vtune.runtime.notices import warn
from vtune.runtime.resume import Point
from vtune.tuning.checkpoints.call import check_same
from vtune.tuning.checkpoints.folder import holds_sweep, loaded, remove_sweep
from vtune.tuning.checkpoints.machine import MACHINE, machine_of, other_machine
from vtune.tuning.checkpoints.settings import Checkpoint
from vtune.tuning.prepare import Prepared
from vtune.visible import in_one_line


class Beginning(NamedTuple):
    """Where a run begins; both are None where it does so with its first round.

    Attributes:
      finished: the sweep, where the folder holds it already. point: where the run goes on.
    """

    finished: Sweep | None = None
    point: Point | None = None


@dataclass(frozen=True)
class Finder:
    """Looks into the folder of a run.

    Attributes:
      settings: of its checkpoints. prepared: the run. call: what it asks for.
    """

    settings: Checkpoint
    prepared: Prepared
    call: Call

    @property
    def _folder(self) -> Path:
        return self.settings.folder

    def find(self) -> Beginning:
        """Returns what all processes begin with; the first one decides.

        Raises:
          CheckpointMismatchError, FileExistsError, ValueError: it cannot go on from what is there.
        """
        where = f"the checkpoints in {self._folder}"
        found = Beginning()

        def first() -> tuple[bool, str | None]:
            nonlocal found
            found = self._found()
            return found.finished is not None, None if found.point is None else found.point.where

        told = processes.first_does(where, first)
        with processes.together(where, long=True):
            return found if target.is_first_process() else self.follow(*told)

    def follow(self, finished: bool, path: str | None) -> Beginning:
        """Reads what the first process found: the finished sweep, or the checkpoint of a path."""
        try:
            if finished:
                return Beginning(finished=self._loaded())
            if path is None:
                return Beginning()
            header = files.read_header(Path(path))
            found = files.read_checkpoint(header)
            return Beginning(point=Point(header.rounds, found.carry, path, found.position))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self._folder}: process 0 read it, this one cannot ({in_one_line(error)}); give "
                "a folder that all processes reach, on a shared file system"
            ) from error

    def _found(self) -> Beginning:
        saved = holds_sweep(self._folder)
        if self.settings.restart:
            self._discard(saved)
            return Beginning()
        if not saved:
            return Beginning(point=self._newest())
        check_same(self._folder, read_manifest(self._folder)["call"], self.call)
        finished = self._loaded()
        files.remove_checkpoints(self._folder)
        return Beginning(finished)

    def _discard(self, saved: bool) -> None:
        rounds = [path.name for path in files.checkpoints(self._folder)]
        gone = ["its finished sweep"] if saved else []
        gone += [f"its checkpoint of {' and '.join(rounds)} rounds"] if rounds else []
        if gone:
            warn(f"{self._folder}: {' and '.join(gone)} is removed, since restart=True was given")
        if saved:
            remove_sweep(self._folder)
        files.remove_checkpoints(self._folder)

    def _loaded(self) -> Sweep:
        plan, cohorts = self.prepared.plan, self.prepared.cohorts
        trained = loaded(self._folder, self.prepared)
        return Sweep(dataclasses.replace(trained, plan=plan, cohorts=cohorts))

    def _newest(self) -> Point | None:
        """Returns the point of the newest checkpoint that can be read."""
        found, damaged = files.newest_readable(files.checkpoints(self._folder), self._read)
        if found is not None:
            header, checkpoint = found
            other = other_machine(machine_of(header.manifest), self.call.asked[MACHINE])
            if other:
                warn(
                    f"{self._folder}: the sweep goes on otherwise than it was begun, "
                    f"{'; '.join(other)}. Sums may be rounded differently, and what is decided by "
                    "them may differ"
                )
            for older, damage in damaged:
                warn(
                    f"{older}: damaged, {damage}; it is removed, and the sweep goes on from the "
                    f"one before it, after {checkpoint.rounds} rounds"
                )
                shutil.rmtree(older, ignore_errors=True)
            where = str(header.path)
            return Point(checkpoint.rounds, checkpoint.carry, where, checkpoint.position)
        if damaged:
            raise ValueError(
                "; ".join(f"{path}: damaged, {damage}" for path, damage in damaged)
                + ". There is no other checkpoint; begin anew with vt.Checkpoint(folder, "
                "restart=True)"
            )
        return None

    def _read(self, path: Path) -> tuple[files.Header, files.Found]:
        header = files.read_header(path)
        check_same(self._folder, header.manifest["call"], self.call)
        return header, files.read_checkpoint(header)
