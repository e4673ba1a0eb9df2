"""The names that parts of the program bear in what JAX hands the compiler, so that they are found
again in compiled programs and in profiles."""

from __future__ import annotations

import re
from typing import NamedTuple

ROUNDS = "rounds"  # the loops over rounds
STEPS = "steps"  # a training's loop over the steps of a chunk

_TRAINING = re.compile(r"train_group_(\d+)_of_(\d+)")


class Training(NamedTuple):
    """Whose training steps a part of the program takes.

    Attributes:
      group: the number of the group of cohorts. size: the members that are trained.
    """

    group: int
    size: int

    @property
    def name(self) -> str:
        """The scope's name."""
        return f"train_group_{self.group}_of_{self.size}"


def training_of(path: str) -> Training | None:
    """Returns whose training an operation belongs to, by its path of names; None if to none's."""
    found = _TRAINING.search(path)
    return None if found is None else Training(int(found[1]), int(found[2]))
