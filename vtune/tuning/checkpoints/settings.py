"""Where and how often a run keeps checkpoints, as users write it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtune.keywords import answering
from vtune.results.paths import folder_of
from vtune.validation import check_count, is_number


@answering
@dataclass(frozen=True)
class Checkpoint:
    """Where a run keeps its checkpoints, and how often it writes one; for `checkpoint=`.

    One is written in the background while training goes on, at most one at a time, and one more
    where the run is interrupted.

    Args:
      path: a folder, which is made if it is not there. Its other files are left alone.
      every: seconds between two checkpoints.
      rounds: so many rounds between two, instead of seconds.
      keep: how many of the last ones are kept.
      restart: whether to begin anew where the folder holds a sweep or checkpoints, and remove them.

    Raises:
      TypeError, ValueError: on any other value.
    """

    path: str | os.PathLike
    every: float = 60.0
    rounds: int | None = None
    keep: int = 2
    restart: bool = False

    def __post_init__(self) -> None:
        folder_of("Checkpoint", self.path)
        if not is_number(self.every):
            raise TypeError(
                f"Checkpoint: every={self.every!r} must be a number of seconds, above 0"
            )
        if not self.every > 0:
            raise ValueError(f"Checkpoint: every={self.every!r} must be above 0, in seconds")
        if self.rounds is not None:
            check_count("Checkpoint: rounds", self.rounds)
        check_count("Checkpoint: keep", self.keep)
        if not isinstance(self.restart, bool):
            raise TypeError(f"Checkpoint: restart={self.restart!r} must be True or False")

    @property
    def folder(self) -> Path:
        """The folder."""
        return folder_of("Checkpoint", self.path)


def as_checkpoint(caller: str, given: Any) -> Checkpoint | None:
    """Returns what a user gave as checkpoint=; None where nothing is kept.

    Args:
      caller: the function that messages name.

    Raises:
      TypeError, ValueError: it is no folder and no `Checkpoint`.
    """
    if given is None or isinstance(given, Checkpoint):
        return given
    if not isinstance(given, str | os.PathLike):
        raise TypeError(
            f"{caller}: checkpoint={given!r} must be the name of a folder or a vt.Checkpoint; "
            'write checkpoint="runs/a", or vt.Checkpoint("runs/a", every=60.0)'
        )
    return Checkpoint(given)
