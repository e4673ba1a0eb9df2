"""What a run leaves, as one plain record."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vtune.engine.population import Population

if TYPE_CHECKING:
    pass


class Timing(NamedTuple):
    """Seconds spent compiling (0 where the program was there already) and running."""

    compile: float
    run: float


def places(populations: tuple[Population, ...]) -> list[tuple[int, int]]:
    """By member the cohort and the slot it stands in at the end."""
    found = {
        int(i): (c, s)
        for c, own in enumerate(populations)
        for s, i in enumerate(np.asarray(own.id))
    }
    return [found[i] for i in sorted(found)]
